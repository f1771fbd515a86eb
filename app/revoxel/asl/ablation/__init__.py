"""Experiments at equal budget, and what they show."""
