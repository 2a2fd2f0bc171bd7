"""Networks of real BGP speakers in namespaces, for scenarios that read like a description of a network."""

from tests.lab.appliance import Appliance
from tests.lab.bird import BirdNode, BirdTor
from tests.lab.crowd import Crowd
from tests.lab.exabgp import ExabgpNode, ExabgpTor
from tests.lab.forwarding import Forwarding
from tests.lab.frr import FrrNode, FrrTor
from tests.lab.gobgp import BareReflector, GobgpNode, GobgpTor
from tests.lab.network import Host, Network
from tests.lab.peer import Heard, Path, Peer, Remote, Unsupported, all_established
from tests.lab.raw import RawSpeaker
from tests.lab.stream import Stream
from tests.lab.wait import HappenedAnyway, NotInTime, eventually, never

__all__ = [
    "Appliance",
    "BareReflector",
    "BirdNode",
    "BirdTor",
    "Crowd",
    "ExabgpNode",
    "ExabgpTor",
    "Forwarding",
    "FrrNode",
    "FrrTor",
    "GobgpNode",
    "GobgpTor",
    "HappenedAnyway",
    "Heard",
    "Host",
    "Network",
    "NotInTime",
    "Path",
    "Peer",
    "RawSpeaker",
    "Remote",
    "Stream",
    "Unsupported",
    "all_established",
    "eventually",
    "never",
]
