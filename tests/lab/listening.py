"""What peers hear from a moment on: their own logs, so that a route which came and went is not missed."""

from collections.abc import Sequence

from tests.lab.peer import Heard, Peer, normal


class Listening:
    """Begins when it is made."""

    def __init__(self, *peers: Peer) -> None:
        self._before = {peer: len(peer.heard()) for peer in peers}

    def heard(self, prefix: str | None = None) -> list[Heard]:
        """Updates and withdrawals since then, of one prefix or of all."""
        wanted = normal(prefix) if prefix is not None else None
        return [
            heard
            for peer, before in self._before.items()
            for heard in peer.heard()[before:]
            if wanted in (None, heard.prefix)
        ]

    def updates(self, prefix: str | None = None) -> Sequence[Heard]:
        """Updates since then."""
        return [heard for heard in self.heard(prefix) if heard.kind == "update"]

    def withdrawals(self, prefix: str | None = None) -> Sequence[Heard]:
        """Withdrawals since then."""
        return [heard for heard in self.heard(prefix) if heard.kind == "withdraw"]
