"""What a host's kernel forwards by, watched: which routes were taken out, however short the time."""

import re

from tests.lab.network import Host
from tests.lab.wait import eventually

_DELETED = re.compile(r"^Deleted (?:\w+ )?(\d\S*|[0-9a-f]*:\S*) ", re.MULTILINE)


class Forwarding:
    """Follows a host's routing table from now on. A route that is replaced by another is not one taken out."""

    def __init__(self, host: Host) -> None:
        self._process = host.start(f"routes-{len(host.processes)}", ["ip", "-oneline", "monitor", "route"])
        eventually(lambda: self._listens(host), 5, f"routes of {host.name} are watched")

    def _listens(self, host: Host) -> bool:
        """Tell whether the monitor has opened its netlink socket: it says nothing by itself."""
        shown = host.run("cat", "/proc/net/netlink")
        return any(line.split()[2] == str(self._process.pid) for line in shown.splitlines()[1:])

    def taken_out(self) -> list[str]:
        """Prefixes whose route was deleted, in order."""
        found = _DELETED.findall(self._process.log.read_text(errors="replace"))
        return [prefix if "/" in prefix else f"{prefix}/{128 if ':' in prefix else 32}" for prefix in found]
