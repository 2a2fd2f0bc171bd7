"""Find the engine, gobgpd, on this machine, or bring it from Debian without root.

Runs with nothing but Python's standard library, because it comes before the
virtual environment: ``python3 packaging/engine``.
"""
