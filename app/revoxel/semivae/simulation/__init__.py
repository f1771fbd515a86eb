"""Synthetic heads with tumours whose volume, place, shape and growth are known."""
