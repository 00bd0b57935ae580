r"""What AZ-NAS reads from every block of a network: az_expressivity, az_progressivity and az_trainability.

With :math:`F_0` the output of the stem and :math:`F_1 \dots F_L` those of the cells and reductions (L = 17 in the published network), the
device computes the covariance of the channels of every :math:`F_l` over all pixels of all images, and the product :math:`(g J)^T g` of a
Rademacher cotangent *g* at the output of a block with its pull-back :math:`g J` to the block's input, averaged over images and pixels. The
input gradient of a reduction has its 2x2 pixels folded into channels. A DARTS cell reads two outputs; its input here is that of the block
before it, and the older one is a constant. One forward and one backward pass per block.

The fourth component of AZ-NAS, complexity, is the proxy ``macs``; the aggregate ``az_nas`` ranks by all four. All are defined with
He-normal weights (fan in), standard normal images and training-mode normalisation: the initialisation that the user asks for plays no part,
and only the shape of the images is taken from the data set.

Reference:
    Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, arXiv:2403.19232, section 3, and its
    released code, github.com/cvlab-yonsei/AZ-NAS.

Deviations:
    The numbers are those of the released code, with its small constants (1e-8 in the logarithm, 1e-6 in :math:`1 / \sigma`). NaN (a feature
    map without any variance) becomes minus infinity there and stays NaN here; both rank last. Eigenvalues and singular values are taken on
    the host in float64.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.network import Network
from jknas.networks.observation import RunBlock, normalised
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch, Setup, drawn_with, noise


class Measured(NamedTuple):
    """What the device measures of every block in its order; the first axis is the cell, or has one element.

    Attributes:
        covariances: of the channels of the block's output, ``[m, c, c]``; from the stem on.
        products: of gradients at input and output, ``[m, c_in, c]`` (of reductions ``[1, 4 c_in, c]``); from the block after the stem on.
        identical: 1.0 where the two gradients are the same, ``[m]``; likewise.
    """

    covariances: Sequence[Float[Array, "m c c"]]
    products: Sequence[Float[Array, "m ci c"]]
    identical: Sequence[Float[Array, " m"]]


def measure(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Measured:
    """Return the covariances and gradient products of all blocks; the device part of the three proxies.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: draws the Rademacher cotangents.

    Cost: a forward and a backward pass without weight gradients, and two products over all pixels per block.
    """
    observed = observable(network, "AZ-NAS")
    cells = {name: block.cells for name, block in observed.observed_layers(wiring).items() if block.kind not in _BEHIND_FEATURES}
    keys = zip(cells.items(), jax.random.split(key, len(cells)), strict=True)
    extras = {name: one if count is None else jax.random.split(one, count) for (name, count), one in keys}
    found = observed.walk(params, batch.x, wiring, _measure_block, extras=extras).summaries
    stacked = [found[name] if count else jax.tree.map(lambda leaf: leaf[None], found[name]) for name, count in cells.items()]
    return Measured([one[0] for one in stacked], *([one[place] for one in stacked[1:]] for place in (1, 2)))


_BEHIND_FEATURES = ("last_norm", "classifier")


def _measure_block(kind: str, run: RunBlock, x: Array, key: PRNGKeyArray | None) -> tuple[Array, PyTree]:
    def block(x: Array) -> Array:
        return run(normalised("batch"), x, {}).output

    if key is None:  # behind the features
        return block(x), ()
    if kind == "stem":
        y = block(x)
        return y, (covariance(y),)
    y, pull = jax.vjp(block, x)
    above = jax.random.rademacher(key, y.shape, y.dtype)
    return y, (covariance(y), *gradient_product(pull(above)[0], above))


def covariance(features: Float[Array, "n h w c"]) -> Float[Array, "c c"]:
    """Return the covariance of the channels over all pixels of all images."""
    flat = features.reshape(-1, features.shape[-1])
    centred = flat - flat.mean(0, keepdims=True)
    return jnp.matmul(centred.T, centred, precision="highest") / len(flat)


def gradient_product(below: Float[Array, "n hi wi ci"], above: Float[Array, "n h w c"]) -> tuple[Float[Array, "cf c"], Float[Array, ""]]:
    """Return the mean over images and pixels of the product of two gradients, and 1.0 where they are the same.

    Where the first has twice the height and width of the second, its 2x2 pixels become channels; odd extents end in a zero.
    """
    n, height, width, channels = above.shape
    same = jnp.all(below == above).astype(above.dtype) if below.shape == above.shape else jnp.zeros((), above.dtype)
    ratio = -(-below.shape[1] // height)
    if below.shape[1:3] != (ratio * height, ratio * width):
        below = jnp.pad(below, ((0, 0), (0, ratio * height - below.shape[1]), (0, ratio * width - below.shape[2]), (0, 0)))
    folded = below.reshape(n, height, ratio, width, ratio, -1).swapaxes(2, 3).reshape(n * height * width, -1)
    product = jnp.matmul(folded.T, above.reshape(-1, channels), precision="highest") / len(folded)
    return product, same


def entropies(covariances: Sequence[Any]) -> Float[np.ndarray, " l"]:
    """Return the entropies of all features from the stem on: NaN for features that do not vary or are not finite."""
    found = []
    for stack in covariances:
        for matrix in np.asarray(stack, np.float64):
            if not np.all(np.isfinite(matrix)) or not np.trace(matrix) > 0:
                found.append(math.nan)
                continue
            eigenvalues = np.clip(np.linalg.eigvalsh(matrix), 0, None)  # a covariance: below zero is rounding
            shares = eigenvalues / eigenvalues.sum()
            found.append(float(-np.sum(shares * np.log(shares + 1e-8))))
    return np.array(found)


row = functools.partial(
    NetworkProxy,
    measure=measure,
    reference="Lee and Ham, AZ-NAS, CVPR 2024, arXiv:2403.19232, section 3",
    cost="1 backward pass without weight gradients",
    needs_labels=False,
    batch_size=64,
    setup=Setup(init=drawn_with("he_normal"), batch=noise, once=False),
    requires=("observable",),
)
"""The row of a component of AZ-NAS."""
