r"""Three of the four parts of AZ-NAS: expressivity, progressivity and trainability, from one forward and one backward pass a block.

With :math:`F_0` the stem's output and :math:`F_1 \dots F_L` those of the cells and reductions (L = 17 in the published network):

``az_expressivity``
    :math:`\sum_{l=0}^{L} e_l`, where :math:`e_l = -\sum_k p_k \log p_k` is the entropy of the eigenvalues of the channels' covariance over
    all pixels of all images, divided by their sum: how evenly the features use their channels.
``az_progressivity``
    :math:`\min_l \, (e_{l+1} - e_l)`: by how much the expressivity grows with depth, at worst.
``az_trainability``
    :math:`\frac{1}{L} \sum_{l=1}^{L} (2 - \sigma_l - 1 / \sigma_l)`, where :math:`\sigma_l` is the spectral norm of the block's Jacobian,
    estimated from a Rademacher cotangent *g* at its output and :math:`g J` at its input as the largest singular value of
    :math:`(g J)^T g`, averaged over images and pixels. Its best is 0, at :math:`\sigma_l = 1`: gradients neither grow nor shrink. A
    reduction's input gradient has its 2x2 pixels folded into channels.

The fourth, complexity, is the proxy ``macs``; the aggregate ``az_nas`` ranks by all four.

All are defined with He-normal weights (fan in), standard normal images and training-mode normalisation: what was asked for as
initialisation plays no part, and of the data set only the shape of its images.

Reference:
    Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, arXiv:2403.19232, section 3, and its
    released code, github.com/cvlab-yonsei/AZ-NAS.

Deviations:
    None in the numbers that count, which are those of the released code with its small constants (1e-8 in the logarithm, 1e-6 in
    :math:`1 / \sigma`) and its one exception: a network with a cell that is the identity has the trainability minus infinity, where the
    formula of the paper would call it perfect. NaN (a feature map without any variance) becomes minus infinity there and stays NaN here;
    both rank last. Eigenvalues and singular values are taken on the host in float64.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.nasbench201.blocks import BLOCKS
from jknas.networks.network import Network
from jknas.networks.observation import RunBlock, normalised
from jknas.proxies.observable import check_observable, drawn_with, noise, require_observable
from jknas.proxies.proxy import Batch, Outcome, Proxy, Subject, finish_scalar


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


_FEATURES = BLOCKS[:-2]


def block_measurements(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Measured:
    """Return the covariances and gradient products of all blocks; the device part of the three proxies.

    Args:
        network: a network of NAS-Bench-201.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: draws the Rademacher cotangents.

    Cost: a forward and a backward pass without weight gradients, and two products over all pixels a block.
    """
    observed = require_observable(network)
    keys = dict(zip(_FEATURES, jax.random.split(key, len(_FEATURES)), strict=True))
    extras = {name: jax.random.split(one, observed.cells) if name.startswith("stage") else one for name, one in keys.items()}
    found = observed.walk(params, batch.x, wiring, _measure, extras=extras).summaries
    stacked = {name: found[name] if name.startswith("stage") else jax.tree.map(lambda leaf: leaf[None], found[name]) for name in _FEATURES}
    passed = {name: summary[1] for name, summary in stacked.items() if name != "stem"}
    return Measured(
        {name: summary[0] for name, summary in stacked.items()},
        {name: product for name, (product, _) in passed.items()},
        {name: identical for name, (_, identical) in passed.items()},
    )


def _measure(kind: str, run: RunBlock, x: Array, key: PRNGKeyArray) -> tuple[Array, PyTree]:
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
    for name in _FEATURES:
        for matrix in np.asarray(covariances[name], np.float64):
            if not np.all(np.isfinite(matrix)) or not np.trace(matrix) > 0:
                found.append(math.nan)
                continue
            eigenvalues = np.clip(np.linalg.eigvalsh(matrix), 0, None)  # a covariance: below zero is rounding
            shares = eigenvalues / eigenvalues.sum()
            found.append(float(-np.sum(shares * np.log(shares + 1e-8))))
    return np.array(found)


def _expressivity(found: Measured) -> float:
    return float(entropies(found.covariances).sum())


def _progressivity(found: Measured) -> float:
    return float(np.diff(entropies(found.covariances)).min())  # NaN where one of them is


def _trainability(found: Measured) -> float:
    terms = []
    for name in _FEATURES[1:]:
        for product, identical in zip(np.asarray(found.products[name], np.float64), np.asarray(found.identical[name]), strict=True):
            if not np.all(np.isfinite(product)):
                terms.append(math.nan)
                continue
            largest = float(np.linalg.svd(product, compute_uv=False)[0])
            terms.append(-math.inf if identical else 2 - largest - 1 / (largest + 1e-6))
    return float(np.mean(terms))


def _finish(found: Measured, *, score: Callable[[Measured], float]) -> Outcome:
    return finish_scalar(score(found))


_component = functools.partial(
    Proxy,
    score=block_measurements,
    reference="Lee and Ham, AZ-NAS, CVPR 2024, arXiv:2403.19232, section 3",
    cost="1 backward pass without weight gradients",
    needs_labels=False,
    batch_size=64,
    subject=Subject(init=drawn_with("he_normal"), batch=noise, once=False),
    check=check_observable,
)

PROXIES = (
    _component(
        name="az_expressivity",
        summary="entropy of the channels' principal components, summed over the blocks",
        finish=functools.partial(_finish, score=_expressivity),
    ),
    _component(
        name="az_progressivity",
        summary="smallest growth of that entropy from block to block",
        finish=functools.partial(_finish, score=_progressivity),
    ),
    _component(
        name="az_trainability",
        summary="how near to one the spectral norms of the blocks' Jacobians are",
        finish=functools.partial(_finish, score=_trainability),
    ),
)
