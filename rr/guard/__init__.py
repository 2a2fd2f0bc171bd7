"""What protects the reflector from single peers: quarantine, slow peers, floods of connections, and stale routes.

Each module decides from plain data and a clock; `rr.instance.guarding` looks and acts.
"""
