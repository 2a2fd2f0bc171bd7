"""Facts that count once they have lasted, so that nothing flickers while a change travels. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Lasting:
    """Sentences that are true, with the time since when; told only of those that last."""

    patience: float
    """Seconds that a fact must last before it counts."""
    _since: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def see(self, facts: Iterable[str], now: float) -> tuple[list[str], list[str]]:
        """Take what is true now; answer what counts from now on, and what does no longer."""
        true = dict.fromkeys(facts)
        self._since = {fact: self._since.get(fact, now) for fact in true}
        new = [f for f in true if f not in self._told and now - self._since[f] >= self.patience]
        ended = sorted(self._told - true.keys())
        self._told = (self._told & true.keys()) | set(new)
        return new, ended

    def counting(self) -> dict[str, float]:
        """What counts, with the time since when it is true."""
        return {fact: since for fact, since in self._since.items() if fact in self._told}
