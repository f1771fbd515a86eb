"""Many subjects: the verbs of one scan mapped over a manifest, on this machine or a cluster (Dask)."""
