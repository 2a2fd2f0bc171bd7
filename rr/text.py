"""How lists are written in sentences."""

from collections.abc import Sequence

FEW = 5
"""As many are named one by one."""


def few(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")
