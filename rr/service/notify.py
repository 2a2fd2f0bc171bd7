"""Tell the service manager how the controller is (sd_notify(3)). Where nobody listens, say nothing."""

import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """A way to the service manager."""

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self.address = address
        self.watchdog = watchdog
        """Seconds after which the service manager ends a controller that said nothing; None: it does not mind."""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """Take what the service manager left in the environment out of it, so that no child speaks in our name."""
        address = environment.pop("NOTIFY_SOCKET", None)
        interval = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, int(interval) / 1e6 if meant and interval.isdecimal() else None)

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is over."""
        self._send(READY="1", STATUS=status)

    def alive(self, status: str) -> None:
        """Say that the controller is well, and what it would say to whoever asks."""
        self._send(WATCHDOG="1", STATUS=status)

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends that."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self._send(STOPPING="1", STATUS="ending; the engines run on")

    def _send(self, **assignments: str) -> None:
        if self.address is None:
            return
        lines = (f"{key}={' '.join(value.split())}" for key, value in assignments.items())
        # A leading @ stands for the null byte of an abstract name.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.settimeout(1.0)
            try:
                way.sendto("\n".join(lines).encode(), address)
            except OSError:
                return  # It is not there, or does not listen: nothing that we could do would change that.
