"""Relative tolerances by precision. Widening one needs a reason beside it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Tolerances:
    logits: float  # logits of a network against PyTorch's, relative to the largest
    running: float  # running averages after one training forward
    kernel: float  # Eq. (15) against PyTorch's
    flipped: float  # the same where a ReLU may switch: its input is so near zero that rounding decides on its sign
    wiring: float  # genotype, code and mixture wiring against each other
    layer: float  # a layer and its gradients against the straightforward formula
    gram: float  # a kernel against gradients taken one by one
    low_precision: float  # the same where some parameters are in half precision


FLOAT32 = Tolerances(
    logits=1e-4,  # seen: 1e-6
    running=1e-4,
    kernel=1e-3,  # seen: 2e-4
    flipped=1e-2,  # seen: 5.5e-3, one switched unit in one of 50 examples
    wiring=1e-5,
    layer=2e-5,  # sums over some hundred products
    gram=1e-5,
    low_precision=2e-2,  # the reference rounds its gradients to bfloat16
)
FLOAT64 = Tolerances(
    logits=1e-10,  # seen: 5e-15
    running=2e-7,  # recorded in float32
    kernel=1e-9,  # seen: 1e-14
    flipped=1e-9,  # switches need an input below 1e-15
    wiring=1e-10,
    layer=1e-11,
    gram=1e-9,  # seen: 2e-15
    low_precision=2e-2,
)


def tolerances():
    """Return the table of the float type in force."""
    return {"float32": FLOAT32, "float64": FLOAT64}[jnp.result_type(float).name]


def relative_error(value, reference, *, floor=0.0):
    """Return the largest deviation in units of the reference's largest entry, or of ``floor`` where that is larger."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    assert value.shape == reference.shape
    return np.abs(value - reference).max() / max(np.abs(reference).max(), floor, np.finfo(np.float64).tiny)


def assert_close(tree, reference, tolerance):
    """Compare two trees of arrays leaf by leaf, each relative to its largest entry.

    A leaf may be zero up to rounding, such as the gradient of a kernel whose normalised output is averaged over the whole image; it is
    compared on the scale of a thousandth of the largest leaf.
    """
    names, leaves = zip(*jax.tree.leaves_with_path(tree), strict=True)
    other_names, others = zip(*jax.tree.leaves_with_path(reference), strict=True)
    assert names == other_names
    floor = 1e-3 * max(np.abs(np.asarray(other, np.float64)).max() for other in others)
    for name, leaf, other in zip(names, leaves, others, strict=True):
        error = relative_error(leaf, other, floor=floor)
        assert error <= tolerance, f"{jax.tree_util.keystr(name)}: relative error {error:.2e} > {tolerance:.0e}"
