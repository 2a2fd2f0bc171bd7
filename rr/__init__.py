"""Route-reflector appliance: a controller that makes stock GoBGP speakers into a hardened reflector."""

__version__ = "0.1.0"
