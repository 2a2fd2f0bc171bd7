"""Machines that boot real systemd, beside the lab's speakers on the same network."""

from tests.machines.machine import Machine
from tests.machines.mirror import Mirror

__all__ = ["Machine", "Mirror"]
