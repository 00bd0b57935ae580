r"""How a layer of a skip-connection encoder combines the states that it reads.

With the digits :math:`d_0 .. d_{l-1}` of a layer's sources and :math:`n = \sum_k d_k`, layer *l* reads :math:`\sum_k w_k h_k`:

``mean``
    :math:`w_k = d_k / n`, the default: what the layer reads stays as long as what it was trained on.
``sum``
    :math:`w_k = d_k`. The states of neighbouring layers are alike, so that *n* of them make the layer's input about *n* times as long, and
    its attention saturates.
``blend``
    :math:`w_{l-1} = 1 - b`, and the other sources share *b* = 0.2.

One source alone is read as it is, by all three, so that the ordinary encoder is computed exactly. Scores under different rules are not
comparable: ``sum`` changes gradients more than any wiring does.

Deviations: KNAS (arXiv:2111.13293, section 8) does not say how outputs are combined.
"""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

Combine = Literal["mean", "sum", "blend"]

BLENDED = 0.2
"""Share of the sources that skip layers, in ``blend``."""


def weights_of(digits: Num[Array, " l"] | Num[np.ndarray, " l"], combine: Combine) -> Any:
    """Return the weight of every source of a layer, as the module says; an array of NumPy if ``digits`` are one.

    Args:
        digits: one for each state before the layer, in their order: 1 where it is read.
        combine: one of the three rules.
    """
    library: Any = np if isinstance(digits, np.ndarray) else jnp
    digits = digits.astype(jnp.result_type(float))
    if combine == "sum":
        return digits
    if combine == "mean":
        return digits / digits.sum()
    others = digits[:-1].sum()
    skipped = library.where(others > 0, digits[:-1] * (BLENDED / library.maximum(others, 1)), 0)
    return library.append(skipped, library.where(others > 0, 1 - BLENDED, 1)).astype(digits.dtype)


def combined(states: list[Float[Array, "n t h"]], weights: Any) -> Float[Array, "n t h"]:
    """Return the weighted sum of the states; with weights of NumPy, those of weight zero are not in the program."""
    known = isinstance(weights, np.ndarray)
    terms = [state * weight.astype(state.dtype) for state, weight in zip(states, weights, strict=True) if not known or weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
