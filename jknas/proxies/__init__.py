"""Training-free scores, one file each, in one registry.

>>> get("mgm").cost
'1 backward pass'
"""

from jknas.errors import ProxyError, choose
from jknas.proxies import az_nas as _az_nas
from jknas.proxies import example_gradients as _example_gradients
from jknas.proxies import fisher as _fisher
from jknas.proxies import grasp as _grasp
from jknas.proxies import jacobian as _jacobian
from jknas.proxies import meco as _meco
from jknas.proxies import mgm as _mgm
from jknas.proxies import naswot as _naswot
from jknas.proxies import ntk as _ntk
from jknas.proxies import regions as _regions
from jknas.proxies import saliency as _saliency
from jknas.proxies import size as _size
from jknas.proxies import swap as _swap
from jknas.proxies import synflow as _synflow
from jknas.proxies import zen as _zen
from jknas.proxies import zico as _zico
from jknas.proxies.proxy import Batch, Outcome, Proxy

REGISTRY: dict[str, Proxy] = {
    proxy.name: proxy
    for room in (
        _az_nas,
        _example_gradients,
        _fisher,
        _grasp,
        _jacobian,
        _meco,
        _mgm,
        _naswot,
        _ntk,
        _regions,
        _saliency,
        _size,
        _swap,
        _synflow,
        _zen,
        _zico,
    )
    for proxy in room.PROXIES
}
"""Every proxy by name."""


def names() -> tuple[str, ...]:
    """Return the names of all proxies, sorted."""
    return tuple(sorted(REGISTRY))


def get(name: str) -> Proxy:
    """Return a proxy by name.

    Raises:
        ProxyError: for an unknown name, with the known ones.
    """
    return REGISTRY[choose("proxy", name, names(), error=ProxyError)]


__all__ = ["REGISTRY", "Batch", "Outcome", "Proxy", "ProxyError", "get", "names"]
