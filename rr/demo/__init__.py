"""`rrctl demo`: the appliance shown on one machine, on loopback, with real peers."""
