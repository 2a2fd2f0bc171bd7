"""How lists and times are written in sentences."""

from collections.abc import Sequence

FEW = 5
"""As many are named one by one."""


def few(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """Write seconds in at most two units."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"
