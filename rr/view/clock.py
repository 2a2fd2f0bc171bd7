"""Times as people and JSON read them: RFC 3339, UTC, with a `Z`."""

from datetime import UTC, datetime


def text(moment: float | None) -> str | None:
    """Unix time as RFC 3339 text with milliseconds; None stays None."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
