r"""What AZ-NAS reads from every block of a network: az_expressivity, az_progressivity and az_trainability.

With :math:`F_0` the output of the stem and :math:`F_1 \dots F_L` those of the cells and reductions (L = 17 in the published network), the
device computes the covariance of the channels of every :math:`F_l` over all pixels of all images, and the product :math:`(g J)^T g` of a
Rademacher cotangent *g* at the output of a block with its pull-back :math:`g J` to the block's input, averaged over images and pixels. The
input gradient of a reduction has its 2x2 pixels folded into channels. One forward and one backward pass per block.

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
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.nasbench201.blocks import BLOCKS, Run, normalised
from jknas.proxies.measurements.forward import walked
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch, Setup, drawn_with, noise


class Measured(NamedTuple):
    """What the device measures, by block; the first axis is the cell.

    Attributes:
        covariances: of the channels of the block's output, ``[m, c, c]``; of all blocks from the stem to stage 3.
        products: of gradients at input and output, ``[m, c_in, c]`` (of reductions ``[1, 4 c_in, c]``); not of the stem.
        identical: 1.0 where the two gradients are the same, ``[m]``.
    """

    covariances: Mapping[str, Float[Array, "m c c"]]
    products: Mapping[str, Float[Array, "m ci c"]]
    identical: Mapping[str, Float[Array, " m"]]


FEATURES = BLOCKS[:-2]
"""The blocks whose outputs are features, from the stem on."""


def measure(network: Any, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Measured:
    """Return the covariances and gradient products of all blocks; the device part of the three proxies.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: draws the Rademacher cotangents.

    Cost: a forward and a backward pass without weight gradients, and two products over all pixels per block.
    """
    observed = walked(network, "AZ-NAS")
    keys = dict(zip(FEATURES, jax.random.split(key, len(FEATURES)), strict=True))
    extras = {name: jax.random.split(one, observed.cells) if name.startswith("stage") else one for name, one in keys.items()}
    found = observed.walk(params, batch.x, wiring, _measure_block, extras=extras).summaries
    stacked = {name: found[name] if name.startswith("stage") else jax.tree.map(lambda leaf: leaf[None], found[name]) for name in FEATURES}
    passed = {name: summary[1] for name, summary in stacked.items() if name != "stem"}
    return Measured(
        {name: summary[0] for name, summary in stacked.items()},
        {name: product for name, (product, _) in passed.items()},
        {name: identical for name, (_, identical) in passed.items()},
    )


def _measure_block(kind: str, run: Run, x: Array, key: PRNGKeyArray) -> tuple[Array, PyTree]:
    def block(x: Array) -> Array:
        return run(normalised("batch"), x, {}).output

    if kind in {"last_norm", "classifier"}:
        return block(x), ()
    if kind == "stem":
        y = block(x)
        return y, (covariance(y), ())
    y, pull = jax.vjp(block, x)
    above = jax.random.rademacher(key, y.shape, y.dtype)
    return y, (covariance(y), gradient_product(pull(above)[0], above))


def covariance(features: Float[Array, "n h w c"]) -> Float[Array, "c c"]:
    """Return the covariance of the channels over all pixels of all images."""
    flat = features.reshape(-1, features.shape[-1])
    centred = flat - flat.mean(0)
    return jnp.matmul(centred.T, centred, precision="highest") / len(flat)


def gradient_product(below: Float[Array, "n hi wi ci"], above: Float[Array, "n h w c"]) -> tuple[Float[Array, "cf c"], Float[Array, ""]]:
    """Return the mean over images and pixels of the product of two gradients, and 1.0 where they are the same.

    Where the first has twice the height and width of the second, its 2x2 pixels become channels.
    """
    n, height, width, channels = above.shape
    same = jnp.all(below == above).astype(above.dtype) if below.shape == above.shape else jnp.zeros((), above.dtype)
    ratio = below.shape[1] // height
    folded = below.reshape(n, height, ratio, width, ratio, -1).swapaxes(2, 3).reshape(n * height * width, -1)
    product = jnp.matmul(folded.T, above.reshape(-1, channels), precision="highest") / len(folded)
    return product, same


def entropies(covariances: Mapping[str, Any]) -> Float[np.ndarray, " l"]:
    """Return the entropies of all features from the stem on: NaN for features that do not vary or are not finite."""
    found = []
    for name in FEATURES:
        for matrix in np.asarray(covariances[name], np.float64):
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
