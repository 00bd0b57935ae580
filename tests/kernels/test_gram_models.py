"""The list of what works in the docstring of ``jknas.kernels.gram``, row by row, for every function that shares the one pass."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from jax import lax
from kernel_models import MODELS, Draw, N
from slow_kernel import slow_gram
from tolerances import relative_error, tolerances

from jknas.errors import KernelError
from jknas.kernels import gram as module
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.diagonal import gram_diagonal
from jknas.kernels.gram import gram
from jknas.kernels.mgm import mgm
from jknas.kernels.products import gradient_products
from jknas.kernels.sketch import sketched_gram


def complex_intermediates(draw):
    def apply(p, x):
        filtered = jnp.fft.irfft(jnp.fft.rfft(x) * lax.complex(p["real"], p["imaginary"])[None], n=x.shape[1])
        return jnp.tanh(filtered) @ p["head"] + jnp.abs(jnp.fft.fft(x @ p["w"]))

    params = {"real": draw(4, gain=1.0), "imaginary": draw(4, gain=1.0), "head": draw(6, 3), "w": draw(6, 3)}
    return apply, params, draw.data(6)


def kernels(apply, params, x):
    """Return the kernel, and what the other functions make of it: its diagonal, its first columns, a sketch."""
    return (
        gram(apply, params, x, method="one_pass").matrix,
        gram_diagonal(apply, params, x),
        gradient_products(apply, params, x, jax.tree.map(lambda leaf: leaf[:2], x), objective="logits"),
        sketched_gram(apply, params, x, width=64, key=jax.random.key(0)),
    )


def assert_all(found, reference, tolerance):
    matrix, diagonal, columns, sketch = found
    for value, expected in ((matrix, reference), (diagonal, np.diag(reference)), (columns, reference[:, :2]), (sketch.diagonal, diagonal)):
        assert relative_error(value, expected) <= tolerance
    deviation = np.sqrt((np.outer(np.diag(reference), np.diag(reference)) + reference**2) / 64)
    assert (np.abs(np.asarray(sketch, np.float64) - reference) <= 5 * deviation + tolerance * reference.max()).all()


ROWS = {
    "jax.jit": ["nested_jit"],
    "jax.checkpoint": ["checkpoint", "checkpoint_policy"],
    "lax.scan": ["constant_of_a_scan", "nested_scans", "carried_by_a_scan"],
    "lax.cond": ["used_in_both_branches", "branch_chosen_by_the_example"],
    "jax.vmap": ["vmapped_inside"],
    "jax.custom_vjp": ["own_layer", "own_rule_in_a_scan"],
    "jax.custom_jvp": ["own_activations"],
    "lax.stop_gradient": ["stopped_once"],
    "lax.while_loop": ["loops_over_data"],
    "tied": ["weight_used_twice", "tied_embedding"],
    "stacked": ["slices_of_one_weight", "one_slice_twice"],
    "pytree": ["mixed_tree", "keys_in_the_input"],
    "complex intermediate": [complex_intermediates],
}


@pytest.mark.parametrize(("row", "model"), [(row, model) for row, models in ROWS.items() for model in models])
def test_what_works(float64, row, model):
    apply, params, x = model(Draw(0)) if callable(model) else MODELS[model].made()
    run = quick_jit(lambda p, x: (kernels(apply, p, x), slow_gram(apply, p, x)))
    found, reference = run(params, x)
    assert_all(found, np.asarray(reference), tolerances().gram)


HALF = [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)]


def network(p, x):
    hidden = jnp.tanh(x @ p["w"] + lax.broadcast_to_rank(p["b"], x.ndim))
    hidden, _ = lax.scan(lambda h, w: (jnp.sin(h @ w), None), hidden, p["stack"])
    return (hidden @ (0.5 * p["head"])).sum(1)


def drawn():
    draw = Draw(0)
    return {"w": draw(16, 16), "b": draw(16), "stack": draw(2, 16, 16), "head": draw(16, 3)}, draw(N, 4, 16, gain=1.0)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision(dtype):
    """Parameters, inputs and activations in half precision: kernels in float32, near those of the same parameters in float32."""
    params, x = jax.tree.map(lambda leaf: leaf.astype(dtype), drawn())
    found = quick_jit(lambda p, x: kernels(network, p, x))(params, x)
    assert all(value.dtype == jnp.float32 for value in (*found[:3], found[3].features, found[3].diagonal))
    exact = slow_gram(network, *jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x)))
    assert_all(found, np.asarray(exact), tolerances().low_precision)


@pytest.mark.parametrize("dtype", HALF)
def test_mixed_precision(dtype):
    """Parameters in float32, computed with in half precision: gradients and kernels in float32."""
    params, x = drawn()

    def apply(p, x):
        return network(*jax.tree.map(lambda leaf: leaf.astype(dtype), (p, x))).astype(jnp.float32)

    found = quick_jit(lambda p, x: kernels(apply, p, x))(params, x)
    assert_all(found, np.asarray(slow_gram(network, params, x)), tolerances().low_precision)


ROWS_OF_THEIR_OWN = {"half precision", "mixed precision", "complex parameter", "integer"}


def test_the_list_of_the_docstring_is_this_one():
    listed = re.findall(r"^\* (.+?): ", module.__doc__, re.MULTILINE)
    assert len(listed) == len(ROWS) + len(ROWS_OF_THEIR_OWN)
    for row in (*ROWS, *ROWS_OF_THEIR_OWN):
        assert sum(row in text for text in listed) == 1, row


def refuse_complex(params, x, **options):
    apply = lambda p, x: jnp.real(x.astype(p["w"].dtype) @ p["w"]) + p["b"][None]  # noqa: E731
    one = {"width": 4, "key": jax.random.key(0)}
    return {
        "gram": lambda: gram(apply, params, x, **options).matrix,
        "jacobian": lambda: gram(apply, params, x, method="jacobian", **options).matrix,
        "gram_diagonal": lambda: gram_diagonal(apply, params, x, **options),
        "gradient_products": lambda: gradient_products(apply, params, x, x, objective="logits", **options),
        "sketched_gram": lambda: sketched_gram(apply, params, x, **one, **options).matrix,
        "ntk_coupled": lambda: ntk_coupled(apply, params, x, **options),
        "mgm": lambda: mgm(apply, params, x, objective="logits", **options),
    }


@pytest.mark.parametrize("name", refuse_complex({}, None))
def test_complex_parameters_are_refused(name):
    draw = Draw(0)
    params, x = {"w": draw(4, 2).astype(complex), "b": draw(2)}, draw.data(4)
    with pytest.raises(
        KernelError, match=r"the parameter \['w'\] is complex64, and kernels of complex parameters are not defined; store its"
    ):
        refuse_complex(params, x)[name]()
    refuse_complex(params, x, parameters=lambda path: path == "['b']")[name]()  # left out: a constant


def test_integers_keys_and_masks_are_constants():
    apply, params, x = MODELS["mixed_tree"].made()
    names = gram(apply, params, x, interaction="ignore").parameters
    assert len(names) == len([leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)])
    assert not [name for name in names if re.search("steps|key|mask", name)]
