"""Scans whose truth is known: phantoms, noise on control and label, constants that vary."""
