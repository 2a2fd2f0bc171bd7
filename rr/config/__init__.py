"""rr.yaml: its schema (`model`), reading it (`load`), and what is wrong with it, to the column."""
