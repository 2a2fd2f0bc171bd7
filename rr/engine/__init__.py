"""The engine: stock GoBGP 4.8, driven over gRPC on a unix socket."""
