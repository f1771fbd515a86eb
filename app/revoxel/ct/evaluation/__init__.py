"""How good a refined CT is: errors in HU, baselines, local Fourier ring correlation, pictures and tables."""
