"""What keeps forwarding whole through restarts: who was up before, and how an engine takes its peers back."""
