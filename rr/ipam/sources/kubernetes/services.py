"""Services: which VIPs there are, and which nodes have endpoints behind them."""

from __future__ import annotations

from collections.abc import Iterator

from rr.ipam.sources.kubernetes.objects import Endpoint, EndpointSlice, Service, reader
from rr.ipam.sources.kubernetes.parts import Careful, Decoded, Endpoints, ServiceVips

LOAD_BALANCER = "LoadBalancer"
LOCAL = "Local"
SERVICE_LABEL = "kubernetes.io/service-name"

_read_service = reader(Service)
_read_slice = reader(EndpointSlice)


def decode_service(raw: bytes, *, load_balancer_class: str | None, external_ips: bool) -> Decoded:
    """The VIPs of a Service; raises NotThis."""
    service, careful = _read_service(raw), Careful()
    if load_balancer_class is not None and service.spec.load_balancer_class != load_balancer_class:
        return careful.decoded(None)
    vips = careful.vips(_ingress(service), "status.loadBalancer")
    if external_ips:
        vips += careful.vips(service.spec.external_ips or (), "spec.externalIPs")
    if not vips:
        return careful.decoded(None)
    local = service.spec.external_traffic_policy == LOCAL
    return careful.decoded(ServiceVips(tuple(dict.fromkeys(vips)), local))


def _ingress(service: Service) -> Iterator[str]:
    """The addresses that were given to it; an entry may have a host name instead."""
    status = service.status.load_balancer
    if service.spec.type == LOAD_BALANCER and status:
        yield from (entry.ip for entry in status.ingress or () if entry.ip)


def decode_slice(raw: bytes) -> Decoded:
    """The nodes behind a service, as far as one EndpointSlice knows them; raises NotThis."""
    found = _read_slice(raw)
    name = (found.metadata.labels or {}).get(SERVICE_LABEL)
    if not name:
        return Decoded()
    endpoints = found.endpoints or ()
    ready = frozenset(one.node_name for one in endpoints if one.node_name and is_ready(one))
    ending = frozenset(one.node_name for one in endpoints if one.node_name and is_ending(one))
    return Decoded(Endpoints(f"{found.metadata.namespace}/{name}", ready, ending - ready))


def is_ready(endpoint: Endpoint) -> bool:
    """Whether it takes new connections; unknown counts as yes, as the API says."""
    conditions = endpoint.conditions
    return not conditions or (conditions.ready is not False and not conditions.terminating)


def is_ending(endpoint: Endpoint) -> bool:
    """Whether it ends, but still serves."""
    conditions = endpoint.conditions
    return bool(conditions and conditions.terminating and conditions.serving is not False)
