"""Which resources of the API a source reads, which setting asks for each, and how each is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from rr.config.sources import KubernetesSettings
from rr.ipam.sources.kubernetes import calico, cilium, nodes, services
from rr.ipam.sources.kubernetes.parts import Decoded


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects. Of `versions` the first that the server has is read."""

    plural: str
    versions: tuple[str, ...]
    wanted_by: str
    decode: Callable[[bytes], Decoded]
    labels: str | None = None
    fields: str | None = None

    @property
    def group(self) -> str:
        """The API group, as it stands in RBAC rules; empty for the core."""
        return self.versions[0].rpartition("/")[0]

    @property
    def full_name(self) -> str:
        """As kubectl takes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, version: int) -> str:
        """Where it is listed and watched."""
        name = self.versions[version]
        return f"/{'apis' if '/' in name else 'api'}/{name}/{self.plural}"


def resources(settings: KubernetesSettings) -> tuple[Resource, ...]:
    """All that the settings ask for."""
    return tuple(_resources(settings))


def _resources(settings: KubernetesSettings) -> Iterator[Resource]:
    of_nodes = settings.addresses == "node", "node" in settings.prefixes
    if any(of_nodes):
        decode = partial(nodes.decode, addresses=of_nodes[0], prefixes=of_nodes[1])
        by = "addresses: node" if of_nodes[0] else "prefixes: node"
        yield Resource("nodes", ("v1",), by, decode, settings.node_selector)
    of_cilium = settings.addresses == "cilium", "cilium" in settings.prefixes
    if any(of_cilium):
        decode = partial(cilium.decode_node, addresses=of_cilium[0], prefixes=of_cilium[1])
        by = "addresses: cilium" if of_cilium[0] else "prefixes: cilium"
        yield Resource("ciliumnodes", ("cilium.io/v2",), by, decode, settings.node_selector)
    if "calico" in settings.prefixes:
        calico_api = ("crd.projectcalico.org/v1",)
        yield Resource("blockaffinities", calico_api, "prefixes: calico", calico.decode_affinity)
        yield Resource("ipamblocks", calico_api, "prefixes: calico", calico.decode_block)
    if "services" in settings.vips:
        yield from _services(settings)
    if "cilium-pools" in settings.vips:
        versions = ("cilium.io/v2", "cilium.io/v2alpha1")
        yield Resource("ciliumloadbalancerippools", versions, "vips: cilium-pools", cilium.decode_pool)


def _services(settings: KubernetesSettings) -> Iterator[Resource]:
    decode = partial(
        services.decode_service,
        load_balancer_class=settings.load_balancer_class,
        external_ips=settings.external_ips,
    )
    fields = None if settings.external_ips else f"spec.type={services.LOAD_BALANCER}"
    yield Resource("services", ("v1",), "vips: services", decode, settings.service_selector, fields)
    slices = "endpointslices"
    # Nobody balances load for a headless service, and clusters have many of them.
    yield Resource(
        slices,
        ("discovery.k8s.io/v1",),
        "vips: services",
        services.decode_slice,
        labels="!service.kubernetes.io/headless",
    )
