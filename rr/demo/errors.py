"""What can go wrong in the demo."""

from rr.errors import RRError


class DemoError(RRError):
    """A step of the demo failed; the message is one sentence for the person who watches."""
