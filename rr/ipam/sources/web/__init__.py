"""Sources that are asked over HTTP: the questions, what can go wrong with them, and how often they are asked."""
