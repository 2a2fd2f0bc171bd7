"""Who owns which prefix: the snapshot (`allocations`), its file form (`document`), its sources, and its keeper."""
