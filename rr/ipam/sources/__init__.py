"""Where allocations come from, one module per kind of source: the part of `rr.ipam` that waits."""
