"""The units, the package and the alerts, looked at without a machine that boots."""
