"""Corners in which the fast ways once gave other numbers than the slow one, or none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from jax import lax
from tolerances import relative_error, tolerances

from jknas import gram, gram_diagonal, ntk_coupled, sketched_gram
from jknas.errors import KernelError

X = jnp.array([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]])
LAYER = {"w": jnp.arange(4.0).reshape(2, 2), "empty": jnp.ones((0, 2))}
IMAGES = jnp.arange(1.0, 97.0).reshape(3, 2, 4, 4)


def wide(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def take(**options):
    return lambda table, tokens: jnp.take(table, tokens, axis=0, **options).sum((1, 2))


def table(rows):
    return jnp.arange(2.0 * rows).reshape(rows, 2)


def tokens(dtype):
    return jnp.array([[1, 7], [7, 100], [2, 1]], dtype)


def larger_filter(**options):
    def apply(w, x):
        return (
            lax.conv_general_dilated(x, w, padding="VALID", **options).reshape(len(x), -1).sum(1, keepdims=True) + x[:, :1, 0, 0] * w.sum()
        )

    return apply


CORNERS = {
    "a table of as many rows as bytes": (take(), table(256), tokens(jnp.uint8)),
    "signed bytes": (take(), table(128), tokens(jnp.int8)),
    "two bytes": (take(), table(65536), tokens(jnp.uint16)),
    "clipped bytes": (take(mode="clip"), table(50), tokens(jnp.uint8)),
    "two steps over one range": (lambda p, x: x[:, :1] * p[::2].sum() + x[:, 1:] * p[::3].sum(), jnp.arange(8.0), X),
    "two steps of other shapes": (
        lambda p, x: x[:, :1] * lax.slice(p, (0,), (4,), (2,)).sum() + x[:, 1:] * lax.slice(p, (0,), (4,), (1,)).sum(),
        jnp.arange(8.0),
        X,
    ),
    "layers in two steps": (lambda p, x: (x @ p[::2][0]) @ p[::2][1] + (x @ p[::3][0]) @ p[::3][1], jnp.arange(16.0).reshape(4, 2, 2), X),
    "an empty layer": (lambda p, x: x @ p["w"] + x[:, :0] @ p["empty"], LAYER, X),
    "an empty sum": (lambda p, x: x @ p["w"] + p["empty"].sum(), LAYER, X),
    "an empty part": (lambda p, x: x @ p["w"] + x[:, :0] @ p["w"][2:2], LAYER, X),
    "a filter larger than the image": (larger_filter(window_strides=(1, 1)), jnp.ones((3, 2, 5, 5)), IMAGES),
    "with steps": (larger_filter(window_strides=(2, 2)), jnp.ones((3, 2, 5, 5)), IMAGES),
    "in groups": (larger_filter(window_strides=(1, 1), feature_group_count=2), jnp.ones((2, 1, 5, 5)), IMAGES),
}


@pytest.mark.parametrize("name", CORNERS)
def test_all_ways_agree(float64, name):
    apply, params, x = CORNERS[name]
    options = {"interaction": "ignore"}

    @quick_jit
    def run(params, x):
        found = [gram(apply, params, x, method=method, **options).matrix for method in ("jacobian", "one_pass", "slices")]
        return (
            *found,
            gram_diagonal(apply, params, x, **options),
            sketched_gram(apply, params, x, width=4096, key=jax.random.key(0), **options).matrix,
        )

    expected, *found, diagonal, sketch = run(wide(params), wide(x))
    assert np.diag(expected).min() > 0
    for kernel in found:
        assert relative_error(kernel, expected) < tolerances().gram
    assert relative_error(diagonal, np.diag(expected)) < tolerances().gram
    assert relative_error(np.diag(sketch), np.diag(expected)) < 0.2


def test_numbers_may_be_parameters():
    params = {"scale": 2.0, "w": jnp.ones((2, 2))}
    apply = lambda p, x: x @ p["w"] * p["scale"]  # noqa: E731
    found = gram(apply, params, X, chunk_size=2)
    assert found.method == "slices"
    assert relative_error(found.matrix, gram(apply, params, X, method="jacobian").matrix) < tolerances().gram


def test_coupled_kernels_leave_empty_parameters_out():
    apply = CORNERS["an empty layer"][0]
    assert relative_error(ntk_coupled(apply, LAYER, X), gram(apply, LAYER, X).matrix) < tolerances().gram


def linear(w, x):
    return x @ w


@pytest.mark.parametrize(
    ("second", "options", "words"),
    [
        (
            jnp.ones((4, 3)),
            {},
            r"x and x2 must have the same structure, shapes and dtypes, got \(\(2,\), 'float32'\) and \(\(3,\), 'float32'\)",
        ),
        ({"a": X}, {}, "x and x2 must have the same structure"),
        (X.astype(jnp.int32), {}, r"x and x2 must have the same .* 'int32'"),
        (None, {"chunk_size": 2.5}, "chunk_size must be a whole number of examples, or None, got 2.5"),
        (
            None,
            {"objective": "loss", "labels": jnp.array([0, 1, 2])},
            "labels must be class indices from 0 to 1, the outputs of the model, got 2",
        ),
        (X, {"objective": "loss", "labels": jnp.zeros(3, int), "labels2": jnp.array([0, -1, 0])}, "labels2 must be class .*, got -1"),
    ],
)
def test_arguments_that_would_be_taken_for_others(second, options, words):
    with pytest.raises(KernelError, match=words):
        gram(linear, jnp.ones((2, 2)), X, second, **options)
