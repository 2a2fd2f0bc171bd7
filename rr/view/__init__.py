"""The live picture: sessions, routes, violations and events, built from the engines' event streams."""
