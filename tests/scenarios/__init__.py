"""Scenarios: the appliance among real peers."""
