r"""What the released KNAS code computes instead of its equations, under both behaviours of PyTorch.

The code keeps the first 50 gradient entries of the first eleven large enough tensors for 50 single examples, splits the examples into two
halves, centres each half and sums the products of partners:

.. math:: s = \frac{1}{n^2} \sum_m \sum_e \sum_{k<n/2} (a_{mek} - \bar a_{me}) (b_{mek} - \bar b_{me}) .

* **PyTorch 2 and later**: the stored entries are true per-example gradients and the formula means what it says. Its expectation is zero:
  only its spread carries information, and the rank correlation between two seeds is about 0.03. :func:`centred_half_product`.
* **PyTorch before 2**: the 50 stored slices alias one buffer, every "example" holds the last one's gradient, and centring leaves float32
  rounding residue, about :math:`5 \cdot 10^{-17}` of the squared norm of that gradient. Ranks agree with that norm to .99, so
  :func:`last_example_norm` returns the norm itself rather than imitate the rounding. The published correlations stem from this behaviour.

Reference: github.com/Jingjing-NLP/KNAS, ``exps/NAS-Bench-201/functions.py``, function ``procedure``.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jknas.errors import KernelError

TENSORS = 11
"""How many tensors the released code looks at."""

ENTRIES = 50
"""How many leading entries of each tensor enter the formula; smaller tensors are skipped."""


def centred_half_product(entries: Float[Array, "n m e"]) -> Float[Array, ""]:
    """Return the written formula on true per-example gradient entries (the released code under PyTorch 2 and later).

    Args:
        entries: for every example, ``e`` gradient entries of ``m`` tensors; ``n`` must be even. Absent tensors are zeros.

    Returns:
        A scalar of either sign.

    Raises:
        ValueError: for an odd number of examples.
    """
    n = entries.shape[0]
    if n % 2:
        raise KernelError(f"the released statistic pairs two halves of the batch, so n must be even; got {n}")
    first, second = entries[: n // 2], entries[n // 2 :]
    return jnp.sum((first - first.mean(0)) * (second - second.mean(0))) / n**2


def last_example_norm(entries: Float[Array, "m e"]) -> Float[Array, ""]:
    """Return the squared norm of the last example's entries: what the released code ranks by under PyTorch before 2."""
    return jnp.sum(jnp.square(entries))
