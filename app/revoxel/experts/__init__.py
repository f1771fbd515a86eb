"""Thick-slice operator and the four super-resolution experts built on it."""
