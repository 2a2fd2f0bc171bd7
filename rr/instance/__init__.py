"""One instance, kept as it should be: its engine, what the engine holds, and the picture of what happens there."""
