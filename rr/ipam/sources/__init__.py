"""Where allocations come from, one file per kind of source; the only part of `rr.ipam` that waits for anything."""
