"""Training-free scores, one file per proxy, in one registry.

A proxy of your own needs no change of this package. Put it into a file, here ``my_score.py``,

>>> import jax.numpy as jnp
>>> def measure(network, params, wiring, batch, key):
...     return jnp.std(network.apply(params, batch.x, wiring))  # traced once; the wiring is data, so one program scores all genotypes
>>> PROXY = NetworkProxy(name="spread", measure=measure, summary="how far the logits lie apart", reference="none", cost="1 forward pass")

and every command takes it by reference, ``jknas correlate --proxy my_score:PROXY,params``, also within an expression,
``--proxy "log_rank(my_score:PROXY,params)"``. In Python, :func:`jknas.make_scorer` takes it as it is, and
:func:`register` gives it a name like those of the others. To add a proxy to this package, add a module to it that defines ``PROXY``.

>>> get("mgm").cost
'1 backward pass'
"""

import importlib
import pkgutil

from jknas.errors import ProxyError
from jknas.proxies.proxy import NetworkProxy, Outcome, Proxy, SizeProxy
from jknas.proxies.setup import Batch, Setup
from jknas.registry import Registry

_PROXIES: Registry[Proxy] = Registry(
    "proxy", Proxy, expected="a jknas.proxies.NetworkProxy or a jknas.proxies.SizeProxy", error=ProxyError, names=r"[A-Za-z_]\w*"
)

REGISTRY: dict[str, Proxy] = _PROXIES.things
"""Every proxy by name."""


def names() -> tuple[str, ...]:
    """Return the names of all proxies, sorted."""
    return tuple(sorted(REGISTRY))


def get(name: str) -> Proxy:
    """Return a proxy by name.

    Args:
        name: one of ``names()``, or ``module:NAME`` of a proxy that a module defines, in the current folder or on ``PYTHONPATH``; it is
            registered.

    Raises:
        ProxyError: no proxy has that name (the message lists those that exist), the module cannot be imported, or what it defines under
            that name is no proxy.
    """
    return _PROXIES.get(name)


def reference_of(proxy: Proxy) -> str:
    """Return the text by which :func:`get` finds a proxy in another process.

    Raises:
        ProxyError: the proxy is not registered here, so that no name leads to it.
    """
    return _PROXIES.reference_of(proxy)


def register(proxy: Proxy) -> None:
    """Add a proxy, so that :func:`get`, aggregates and the command line know its name.

    Raises:
        ProxyError: another proxy has that name already, or an expression could not contain the name.
    """
    _PROXIES.register(proxy)


for _found in pkgutil.iter_modules(__path__):
    if hasattr(_module := importlib.import_module(f"{__name__}.{_found.name}"), "PROXY"):
        register(_module.PROXY)

__all__ = ["REGISTRY", "Batch", "NetworkProxy", "Outcome", "Proxy", "ProxyError", "Setup", "SizeProxy"]
__all__ += ["get", "names", "reference_of", "register"]
