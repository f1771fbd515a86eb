"""Many subjects: the same verbs, mapped over a manifest by dask.distributed, here or on a cluster."""
