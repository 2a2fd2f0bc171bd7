"""Who owns which prefix: the snapshot (`allocations`), its file form (`document`), sources, and keeper."""
