"""What can go wrong between the appliance and an API server.

KubernetesError      .wrong and .right, as everywhere
├── NotAnswering     nobody answers, or not in time, or with a fault of its own: it may pass
├── NotAllowed       it does not know us, or we may not read this
├── NotThere         it has no such resource
├── NotTrusted       its certificate, or the kubeconfig, cannot be used
└── Gone             it has forgotten the version from which we wanted to go on (410): list again
"""

from __future__ import annotations

from rr.errors import RRError


class KubernetesError(RRError):
    """The base of all. `passing`: it often mends itself within seconds, so nobody is told at once."""

    passing = False


class NotAnswering(KubernetesError):
    """Nobody answers, or not in time, or with a fault of its own."""

    passing = True

    def __init__(self, wrong: str, right: str, retry_after: float = 0.0) -> None:
        super().__init__(wrong, right)
        self.retry_after = retry_after


class NotAllowed(KubernetesError):
    """401 or 403."""


class NotThere(KubernetesError):
    """404."""


class NotUnderstood(KubernetesError):
    """400."""


class NotTrusted(KubernetesError):
    """No connection that could be trusted, or no way to make one."""


class Gone(KubernetesError):
    """410, as an answer or in the middle of a watch."""

    passing = True
