"""The upsampler: 64^3 to 256^3, a correction of a spline that already keeps its block means."""
