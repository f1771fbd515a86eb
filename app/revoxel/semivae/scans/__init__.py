"""Scans of one visit and how they come into the network's cube."""
