r"""mgm_released: what the released KNAS code computes instead of its equations, under PyTorch 2 and later.

The code keeps the first 50 gradient entries of the first eleven large enough tensors for 50 single examples, splits the examples into two
halves, centres each half and sums the products of partners:

.. math:: s = \frac{1}{n^2} \sum_m \sum_e \sum_{k<n/2} (a_{mek} - \bar a_{me}) (b_{mek} - \bar b_{me}) .

* **PyTorch 2 and later**: the stored entries are true per-example gradients, and the formula means what it says. Its expectation is zero:
  only its spread carries information, and the rank correlation between two seeds is about 0.03. :func:`centred_half_product`.
* **PyTorch before 2**: the 50 stored slices alias one buffer, every "example" holds the gradient of the last one, and centring leaves
  float32 rounding residue, about :math:`5 \cdot 10^{-17}` of the squared norm of that gradient. Ranks agree with that norm to .99, so
  :func:`last_example_norm` returns the norm itself and does not imitate the rounding. The published correlations come from this behaviour;
  :mod:`jknas.proxies.mgm_released_aliased` is its proxy.

Reference: github.com/Jingjing-NLP/KNAS, ``exps/NAS-Bench-201/functions.py``, function ``procedure``.

Deviations: its images are augmented as in training; those of a batch here are not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import KernelError, ProxyError
from jknas.kernels.mgm import mean_gradient
from jknas.kernels.objectives import Objective
from jknas.networks.families import require
from jknas.networks.layers.normalisation import Statistics
from jknas.proxies.measurements.forward import model
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch

TENSORS = 11
"""How many tensors the released code looks at."""

ENTRIES = 50
"""How many leading entries of each tensor enter the formula; smaller tensors are skipped."""


def leading_entries(
    network: Any, params: PyTree, wiring: Any, batch: Batch, *, objective: Objective, statistics: Statistics
) -> tuple[Float[Array, "m e"], Float[Array, " m"]]:
    """Return the entries of the batch's mean gradient that the released code takes, and 1 for each tensor that exists.

    Raises:
        ProxyError: the network does not know PyTorch's order of its tensors.
    """
    require(network, "torch_order", "the released statistic of KNAS", error=ProxyError)
    gradient = mean_gradient(model(network, wiring, statistics), params, batch.x, batch.labels, objective=objective)
    found: tuple[Array, Array] = network.leading_entries(gradient, wiring, entries=ENTRIES, tensors_taken=TENSORS)
    return found


def centred_half_product(entries: Float[Array, "n m e"]) -> Float[Array, ""]:
    """Return the written formula on true per-example gradient entries (the released code under PyTorch 2 and later).

    Args:
        entries: for every example, ``e`` gradient entries of ``m`` tensors; ``n`` must be even. Absent tensors are zeros.

    Returns:
        A scalar of either sign.

    Raises:
        KernelError: for an odd number of examples.
    """
    n = entries.shape[0]
    if n % 2:
        raise KernelError(f"the released statistic pairs two halves of the batch, so n must be even; got {n}")
    first, second = entries[: n // 2], entries[n // 2 :]
    return jnp.sum((first - first.mean(0, keepdims=True)) * (second - second.mean(0, keepdims=True))) / n**2


def last_example_norm(entries: Float[Array, "m e"]) -> Float[Array, ""]:
    """Return the squared norm of the last example's entries: what the released code ranks by under PyTorch before 2."""
    return jnp.sum(jnp.square(entries))


def measure(network: Any, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, aliased: bool = False) -> Float[Array, ""]:
    """Return the statistic of the released code.

    Args:
        network: a network with the capability ``torch_order``.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels, an even number of them (50 in the released code).
        key: not used.
        aliased: whether to return what PyTorch before 2 computes.
    """

    def entries(examples: Batch) -> Array:
        return leading_entries(network, params, wiring, examples, objective="loss", statistics="example")[0]

    if aliased:
        return last_example_norm(entries(Batch(batch.x[-1:], batch.labels[-1:])))
    # One example at a time: a vmapped weight gradient would become a grouped convolution, slow on every backend.
    return centred_half_product(jax.lax.map(entries, jax.tree.map(lambda a: a[:, None], batch)))


PROXY = NetworkProxy(
    name="mgm_released",
    measure=measure,
    summary="the released statistic with true per-example gradients; noise around zero",
    reference="github.com/Jingjing-NLP/KNAS under PyTorch 2 and later",
    cost="50 backward passes at batch size one",
    batch_size=50,
    settings={"aliased": False},
    requires=("torch_order",),
)
