"""Weight gradients of single examples, from either arrangement and some examples at a time, equal those that JAX differentiates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from jax import lax

from jknas import gram
from jknas.kernels.tape import convolutions
from jknas.kernels.tile_sizes import _flops

NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
CASES = {
    "3x3": ((8, 8, 4), (3, 3, 4, 5), {"padding": "SAME"}, "shifts"),
    "a tall filter, uneven padding": ((7, 9, 3), (3, 2, 3, 4), {"padding": ((2, 0), (0, 1))}, "shifts"),
    "no padding": ((9, 6, 2), (2, 4, 2, 3), {"padding": "VALID"}, "shifts"),
    "channels first": ((4, 8, 6), (5, 4, 3, 3), {"padding": "SAME", "dimension_numbers": NCHW}, "shifts"),
    "one row of filter": ((6, 8, 4), (1, 3, 4, 8), {"padding": "SAME"}, "patches"),
    "many outputs": ((6, 6, 1), (3, 3, 1, 64), {"padding": "SAME"}, "patches"),
    "strides": ((8, 8, 4), (3, 3, 4, 4), {"padding": "SAME", "window_strides": (2, 1)}, "patches"),
    "dilation": ((9, 9, 4), (3, 3, 4, 4), {"padding": "SAME", "rhs_dilation": (1, 2)}, "patches"),
    "padding beyond the filter": ((5, 5, 4), (3, 3, 4, 4), {"padding": ((3, 1), (1, 1))}, "patches"),
    "cropped": ((8, 8, 4), (3, 3, 4, 4), {"padding": ((-1, 1), (1, 1))}, "patches"),
    "groups": ((6, 6, 4), (3, 3, 2, 6), {"padding": "SAME", "feature_group_count": 2}, "patches"),
    "depthwise": ((6, 6, 4), (3, 3, 1, 4), {"padding": "SAME", "feature_group_count": 4}, "patches"),
    "large depthwise": (
        (9, 8, 3),
        (5, 7, 1, 3),
        {"padding": ((2, 3), (1, 0)), "window_strides": (2, 1), "rhs_dilation": (1, 1), "lhs_dilation": (2, 2), "feature_group_count": 3},
        "patches",
    ),
    "large depthwise, dilated": (
        (4, 14, 9),
        (4, 1, 5, 5),
        {"padding": "SAME", "rhs_dilation": (3, 1), "feature_group_count": 4, "dimension_numbers": NCHW},
        "patches",
    ),
    "one axis": ((9, 4), (3, 4, 5), {"padding": "SAME", "dimension_numbers": ("NWC", "WIO", "NWC")}, "patches"),
}


def convolved(options, kernel, x):
    named = {"window_strides": (1,) * (kernel.ndim - 2), "dimension_numbers": NHWC} | options
    return lax.conv_general_dilated(x, kernel, **named)


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    """Arrange two examples at a time, so that one of five is left."""
    monkeypatch.setattr(convolutions, "_BLOCK", 1)


def drawn(case, examples=5):
    shape, weight, options, _ = CASES[case]
    draw = np.random.default_rng(3)
    return jnp.asarray(draw.standard_normal((examples, *shape))), jnp.asarray(draw.standard_normal(weight)), options


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_those_of_jax(float64, case):
    x, kernel, options = drawn(case)
    convolve = functools.partial(convolved, options)
    d = jnp.asarray(np.random.default_rng(4).standard_normal(convolve(kernel, x).shape))
    equation = jax.make_jaxpr(convolve)(kernel, x[:1]).eqns[-1]
    gradient = convolutions.convolution_gradient(equation.params, (kernel.shape, x[:1].shape), (1, *d.shape[1:]))

    def reference(x, d):
        return jax.vjp(lambda kernel: convolve(kernel, x[None]), kernel)[1](d[None])[0]

    @quick_jit
    def both(x, d):
        found = jax.vmap(lambda x, d: gradient(x[None], d[None]))(x, d), gradient(x[:1], d[:1])
        return (
            found,
            jax.vmap(lambda d: gradient(x[:1], d[None]))(d),
            jax.vmap(reference)(x, d),
            jax.vmap(functools.partial(reference, x[0]))(d),
        )

    (every, first), same_data, expected, expected_of_same = both(x, d)
    np.testing.assert_allclose(every, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(first, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(same_data, expected_of_same, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ["3x3", "a tall filter, uneven padding", "strides", "groups", "large depthwise"])
def test_kernels_equal_products_of_gradients(float64, case):
    x, kernel, options = drawn(case, examples=6)

    def apply(kernel, x):
        y = convolved(options, kernel, x)
        return jnp.tanh(y).reshape(len(x), -1) @ jnp.sin(jnp.arange(float(y[0].size)))[:, None]

    one_pass, reference = (gram(apply, kernel, x, method=method, interaction="ignore").matrix for method in ("one_pass", "jacobian"))
    np.testing.assert_allclose(one_pass, reference, rtol=1e-11, atol=1e-11)
    rectangle = gram(apply, kernel, x[:4], x[4:], interaction="ignore").matrix
    np.testing.assert_allclose(rectangle, reference[:4, 4:], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_shifts_are_taken_where_they_are_possible_and_smaller(case):
    x, kernel, options = drawn(case)
    convolve = functools.partial(convolved, options)
    params = jax.make_jaxpr(convolve)(kernel, x[:1]).eqns[-1].params
    shapes, out = (kernel.shape, x[:1].shape), convolve(kernel, x[:1]).shape
    chosen, patches = convolutions.arrangement(params, shapes, out), convolutions._patches(params, shapes, out)
    same = (chosen.positions, chosen.inputs, chosen.outputs) == (patches.positions, patches.inputs, patches.outputs)
    assert ("patches" if same else "shifts") == CASES[case][3]
    assert chosen.inputs * chosen.outputs == patches.inputs * patches.outputs


def test_examples_that_are_taken_in_turns_all_count_as_work():
    def flops(n):
        x, kernel = jax.ShapeDtypeStruct((n, 8, 8, 4), jnp.float32), jax.ShapeDtypeStruct((3, 3, 4, 5), jnp.float32)
        apply = lambda kernel, x: convolved({"padding": "SAME"}, kernel, x).sum((1, 2))  # noqa: E731
        return _flops(lambda kernel, x: gram(apply, kernel, x, interaction="ignore").matrix, kernel, x)

    products = 2 * 8 * 8 * (3 * 4) * (3 * 5)  # of one example's gradient, by shifts
    assert flops(40) - flops(20) > 20 * products
