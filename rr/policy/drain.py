"""A speaker that is about to go: whatever it sends says so, and loses against every other path (RFC 8326).

It is one statement in front of all others of the export policy. It decides nothing: who is sent what stays as it is.
"""

from dataclasses import replace

from rr.policy.model import Action, PolicySet, Statement

GRACEFUL_SHUTDOWN = "65535:0"
LAST = 1
"""RFC 8326, section 4, recommends LOCAL_PREF 0; no policy of the engine can set that (docs/engine.md)."""
MARK = Statement("drain", Action.CONTINUE, add_community=GRACEFUL_SHUTDOWN, local_pref=LAST)
"""What it does to every route that is sent."""


def draining(policy: PolicySet, on: bool) -> PolicySet:
    """The same policy while the speaker is about to go, or (`on` false) while it is not."""
    exports = tuple(statement for statement in policy.exports if statement != MARK)
    return replace(policy, exports=(MARK, *exports) if on else exports)


def is_draining(policy: PolicySet) -> bool:
    """Say whether a policy marks what is sent."""
    return MARK in policy.exports
