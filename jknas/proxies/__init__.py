"""Training-free scores, one file per proxy, in one registry.

To add a proxy, add a module to this package that defines ``PROXY``: a :class:`NetworkProxy` or a :class:`SizeProxy`.

>>> get("mgm").cost
'1 backward pass'
"""

import importlib
import pkgutil

from jknas.errors import ProxyError, choose
from jknas.proxies.proxy import NetworkProxy, Outcome, Proxy, SizeProxy
from jknas.proxies.setup import Batch, Setup

_MODULES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]

REGISTRY: dict[str, Proxy] = {module.PROXY.name: module.PROXY for module in _MODULES if hasattr(module, "PROXY")}
"""Every proxy by name."""


def names() -> tuple[str, ...]:
    """Return the names of all proxies, sorted."""
    return tuple(sorted(REGISTRY))


def get(name: str) -> Proxy:
    """Return a proxy by name.

    Raises:
        ProxyError: no proxy has that name; the message lists those that exist.
    """
    return REGISTRY[choose("proxy", name, names(), error=ProxyError)]


__all__ = ["REGISTRY", "Batch", "NetworkProxy", "Outcome", "Proxy", "ProxyError", "Setup", "SizeProxy", "get", "names"]
