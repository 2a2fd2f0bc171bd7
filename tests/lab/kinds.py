"""Every kind of node, for what has to hold with all of them."""

from tests.lab.bird import BirdNode
from tests.lab.exabgp import ExabgpNode
from tests.lab.frr import FrrNode
from tests.lab.gobgp import GobgpNode
from tests.lab.peer import Peer

NODE_KINDS: dict[str, type[Peer]] = {
    "frr": FrrNode,
    "bird": BirdNode,
    "gobgp": GobgpNode,
    "exabgp": ExabgpNode,
}
