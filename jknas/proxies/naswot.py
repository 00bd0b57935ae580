r"""NASWOT: how differently the ReLUs of an untrained network respond to the examples of a batch.

Every example has a code, one bit a ReLU unit: whether its input is positive. With *X* the codes ``[N, units]``,

.. math:: K_{ij} = \#\{\text{units that agree on } i \text{ and } j\} = X X^T + (1 - X)(1 - X)^T, \qquad s = \log |\det K|

All ReLUs count, one in front of every convolution: what several convolutions read counts so many times. The kernel is added up on the
device, cell by cell; the determinant is taken on the host in float64. An integer kernel that is singular (two examples with one code, or
ReLUs that all examples pass alike) has the score minus infinity and the status ``saturated``.

Reference:
    Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", ICML 2021, arXiv:2006.04647, section 3, and its
    released code, github.com/BayesWatch/nas-without-training.

Deviations:
    From the released code: it finds the ReLUs that count by a backward pass (all of them, since a gradient of zero is one too) and gives
    the network one output; neither changes the kernel. All architectures of a scorer share weights where they share operations, there they
    differ. An exception gives the score zero there, which wins among negative scores; here a singular kernel ranks last.
    Images are not augmented, as there.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import ProxyError
from jknas.kernels.spectrum import spectrum
from jknas.networks.network import Network
from jknas.networks.observation import LayerWeights, Seen, look
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy, Outcome
from jknas.proxies.setup import Batch

_EXACT = 2**24  # up to here float32 counts every integer


def agreement(values: Float[Array, "n ..."]) -> Int[Array, "n n"]:
    """Count the units that are positive, or are not, for both of two examples; one matrix product, exact.

    Raises:
        ValueError: so many units an example that float32 cannot count them.
    """
    on = values.reshape(len(values), -1) > 0
    units = on.shape[1]
    if units >= _EXACT:
        raise ProxyError(f"{units} units in one layer cannot be counted exactly in float32; use fewer channels or smaller images")
    signs = jnp.where(on, 1.0, -1.0).astype(jnp.float32)
    # Signs agree on (units + <s_i, s_j>) / 2 units: half the work of the two products of the definition.
    return (units + jnp.matmul(signs, signs.T, precision="highest").astype(jnp.int32)) // 2


def block_kernels(network: Network, params: PyTree, wiring: Any, x: Float[Array, "b h w c"]) -> dict[str, Int[Array, "n n"]]:
    """Return the share of each block in the kernel; a stage counts as the sum of its cells.

    Cost: a forward pass and, for every value that a ReLU reads, a product ``[N, units] x [units, N]``.
    """
    n = len(x)

    def count(_kind: str, seen: Seen) -> Int[Array, "n n"]:
        total = jnp.zeros((n, n), jnp.int32)
        for source in seen.sources:
            readers = jnp.asarray(source.convolutions, jnp.int32)
            # A node that no convolution reads would cost as much as one that many do.
            total = total + jax.lax.cond(readers > 0, agreement, lambda value: jnp.zeros((n, n), jnp.int32), source.value) * readers
        return total + sum((record for record in seen.records.values() if record is not None), start=jnp.zeros((n, n), jnp.int32))

    def inside(x: Array, weights: LayerWeights) -> Int[Array, "n n"] | None:
        return agreement(x) if weights.inside else None

    found = look(observable(network, "naswot"), params, x, wiring, count, record=inside).summaries
    return {name: kernels.reshape(-1, n, n).sum(0, dtype=jnp.int32) for name, kernels in found.items()}


def measure(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Int[Array, "n n"]:
    """Return NASWOT's kernel of the batch, in training mode; the device part.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: not used.
    """
    return sum(block_kernels(network, params, wiring, batch.x).values(), start=jnp.zeros((), jnp.int32))


def log_determinant(kernel: Any) -> Outcome:
    """Return ``log |det K|`` with the kernel's status; minus infinity and ``saturated`` where it is singular up to float64."""
    matrix = np.asarray(kernel, np.float64)
    found = spectrum(matrix)
    facts = {"lambda_max": found.lambda_max, "lambda_min": found.lambda_min, "spectrum": found.status}
    if found.status in {"saturated", "dead"}:
        return Outcome(-math.inf, "saturated", facts)
    return Outcome(float(np.linalg.slogdet(matrix)[1]), found.status, facts)


PROXY = NetworkProxy(
    name="naswot",
    measure=measure,
    summary="log-determinant of the kernel that counts on how many ReLU units two images agree",
    reference="Mellor et al., Neural Architecture Search without Training, ICML 2021, arXiv:2006.04647, section 3",
    cost="1 forward pass",
    needs_labels=False,
    batch_size=128,
    read=log_determinant,
    requires=("observable",),
)
