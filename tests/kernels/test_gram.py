"""The one-pass kernel against gradients taken one by one, on the models of :mod:`kernel_models`, and what ``gram`` promises besides."""

import collections
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from flax import nnx
from jax import lax
from kernel_models import MODELS, Draw, N, conv
from slow_kernel import compiled_slow_gram, jacobian, slow_gram, split
from tolerances import relative_error, tolerances

from jknas.kernels.gram import gram
from jknas.kernels.tape import rows


def forms(kernel):
    return collections.Counter(contraction.form for contraction in kernel.contractions)


def assert_kernel(kernel, reference, tolerance=None):
    reference = np.asarray(reference)
    assert kernel.matrix.shape == reference.shape
    assert np.isfinite(reference).all()
    error = relative_error(kernel.matrix, reference, floor=1e-300)
    assert error <= (tolerance or tolerances().gram), f"relative error {error:.1e}; {[tuple(h) for h in kernel.contractions]}"


def check_model(name, seed=0):
    apply, params, x = MODELS[name].made(seed)
    kernel, reference = quick_jit(lambda p, x: (gram(apply, p, x, method="one_pass"), slow_gram(apply, p, x)))(params, x)
    assert_kernel(kernel, reference)
    assert kernel.method == "one_pass"
    return kernel, np.asarray(reference)


def heavy(names, but):
    return [pytest.param(name, marks=() if name not in but else pytest.mark.slow) for name in names]


# Compiling takes seconds; the smaller models cover the same operations.
HEAVY = {"equinox_model", "nnx_model", "group_norm_cnn", "residual", "depthwise_separable", "scanned_vit", "text_encoder", "solved_for"}


@pytest.mark.parametrize("name", heavy(MODELS, HEAVY))
def test_kernels_equal_those_of_single_gradients(float64, name):
    kernel, reference = check_model(name)
    assert forms(kernel) == MODELS[name].forms
    leaves, _ = split(MODELS[name].made()[1])
    assert len(kernel.parameters) == len(leaves)
    assert {contraction.name for contraction in kernel.contractions} <= set(kernel.parameters)
    # The comparison means something: unless the model is made so, kernels are not the same number throughout.
    same = name in {"parameter_without_use", "returned_unchanged", "only_parameter_is_the_output"}
    assert (np.ptp(reference) > 1e-3 * np.abs(reference).max()) != same


ALL_PRECISIONS = ["mlp", "convolutions", "scanned_vit", "embedding_dropped", "residual", "own_layer", "low_rank_update", "checkpoint"]


@pytest.mark.parametrize("name", heavy(ALL_PRECISIONS, {"scanned_vit", "residual", "convolutions"}))
def test_kernels_in_single_precision(name):
    kernel, _ = check_model(name)
    assert kernel.matrix.dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "leaf", "reason"),
    [
        ("mlp", "['b1']", "enters add"),
        ("mlp", "['w1']", "enters one dot_general"),
        ("weight_used_twice", "[0]", "used 2 times (dot_general)"),
        ("tied_embedding", "['table']", "used 2 times (dot_general, "),
        ("constant_of_a_scan", "", "enters scan"),
        ("carried_by_a_scan", "[0]", "enters scan"),
        ("branch_chosen_by_the_example", "['a']", "enters cond"),
        ("returned_unchanged", "", "enters add"),
        ("own_layer", "['w']", "enters custom_vjp_call"),
        ("embedding_across", "['table']", "enters gather"),
        ("weight_normalisation", "['v']", "used 2 times ("),
    ],
)
def test_contractions_say_why(name, leaf, reason):
    apply, params, x = MODELS[name].made()
    found = [contraction for contraction in jax.eval_shape(lambda p: gram(apply, p, x), params).contractions if contraction.name == leaf]
    assert [contraction.reason.startswith(reason) for contraction in found] == [True], found


# Options


def options_of_mlp(*others, **options):
    apply, params, x = MODELS["mlp"].made()
    return quick_jit(lambda p, x, *others: gram(apply, p, x, *others, **options))(params, x, *others)


@functools.cache
def mlp_rows():
    """Every output's gradient on the MLP; in float64."""
    apply, params, x = MODELS["mlp"].made()
    return np.asarray(quick_jit(lambda p, x: jacobian(apply, p, x))(params, x))


def test_the_sum_is_one_scalar_an_example(float64):
    rows = mlp_rows().sum(1)
    assert_kernel(options_of_mlp(), rows @ rows.T)


def test_the_full_kernel_and_its_trace(float64):
    reference = np.einsum("nap,mbp->nmab", mlp_rows(), mlp_rows())
    full = options_of_mlp(outputs="full")
    assert_kernel(full, reference)
    assert_kernel(options_of_mlp(outputs="trace"), np.trace(reference, axis1=2, axis2=3))
    assert_kernel(options_of_mlp(outputs="full", method="jacobian"), reference)
    assert_kernel(options_of_mlp(outputs="trace", method="jacobian"), np.trace(reference, axis1=2, axis2=3))


@pytest.mark.parametrize("name", ["embedding_dropped", "weight_used_twice", "convolution_of_folded_time", "branch_chosen_by_the_example"])
def test_traces_of_other_forms(float64, name):
    apply, params, x = MODELS[name].made()
    run = quick_jit(lambda p, x: (gram(apply, p, x, outputs="trace"), jacobian(apply, p, x)))
    kernel, rows = run(params, x)
    assert_kernel(kernel, np.einsum("nap,map->nm", rows, rows))


@pytest.mark.parametrize("method", ["one_pass", "slices", "jacobian"])
def test_the_loss_is_cross_entropy(float64, method):
    apply, params, x = MODELS["mlp"].made()
    labels = jnp.arange(N) % 3
    reference = compiled_slow_gram(apply, params, x, labels=labels, labelled=True)
    assert_kernel(options_of_mlp(objective="loss", labels=labels, method=method), reference)
    assert relative_error(reference, options_of_mlp().matrix) > 0.1


@pytest.mark.parametrize("outputs", ["sum", "trace", "full"])
@pytest.mark.parametrize("method", ["one_pass", "slices", "jacobian"])
def test_rectangular_kernels(float64, outputs, method):
    apply, params, _ = MODELS["mlp"].made()
    other = Draw(7)(3, 5)
    pairs = np.einsum("nap,mbp->nmab", mlp_rows(), quick_jit(lambda p, x: jacobian(apply, p, x))(params, other))
    reference = {"sum": pairs.sum((2, 3)), "trace": np.trace(pairs, axis1=2, axis2=3), "full": pairs}[outputs]
    assert_kernel(options_of_mlp(other, outputs=outputs, method=method), reference)
    assert_kernel(options_of_mlp(other, outputs=outputs, method=method, chunk_size=3), reference)


def test_rectangular_kernels_of_losses(float64):
    apply, params, x = MODELS["mlp"].made()
    other, labels, labels2 = Draw(7)(3, 5), jnp.arange(N) % 3, jnp.array([2, 2, 0])
    first, second = (np.asarray(jacobian(apply, params, x, labels=y, labelled=True)[:, 0]) for x, y in ((x, labels), (other, labels2)))
    assert_kernel(options_of_mlp(other, objective="loss", labels=labels, labels2=labels2), first @ second.T)


@pytest.mark.parametrize("method", ["one_pass", "slices", "jacobian"])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 5, 6])
def test_chunks_change_nothing(float64, chunk_size, method):
    rows = mlp_rows().sum(1)
    assert_kernel(options_of_mlp(chunk_size=chunk_size, method=method), rows @ rows.T)


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("method", ["one_pass", "slices", "jacobian"])
def test_chunks_of_several_outputs(float64, outputs, method):
    pairs = np.einsum("nap,mbp->nmab", mlp_rows(), mlp_rows())
    reference = {"trace": np.trace(pairs, axis1=2, axis2=3), "full": pairs}[outputs]
    assert_kernel(options_of_mlp(outputs=outputs, method=method, chunk_size=3), reference)


@pytest.mark.parametrize(("kept", "method"), [(0, "one_pass"), (2, "one_pass"), (3, "slices"), (4, "slices"), (100, "slices")])
@pytest.mark.parametrize("other", [None, 3])
def test_chunks_keep_as_many_gradients_as_fit(float64, monkeypatch, kept, method, other):
    """Of one example each: too few for slices, one chunk in a strip, two, and all."""
    apply, params, x = MODELS["mlp"].made()
    x2 = None if other is None else Draw(7)(other, 5)
    entries = sum(leaf.size for leaf in jax.tree.leaves(params))
    monkeypatch.setattr(sys.modules[gram.__module__], "_KEPT", 8 * kept * entries)
    kernel = gram(apply, params, x, x2, chunk_size=1)
    assert kernel.method == method
    assert_kernel(kernel, gram(apply, params, x, x2, method="jacobian").matrix)


def test_chunks_form_every_gradient_once_if_they_may_keep_them(float64):
    apply, params, x = MODELS["mlp"].made()
    passes = []

    def counted(params, x):
        jax.debug.callback(lambda _: passes.append(1), x)
        return apply(params, x)

    assert gram(counted, params, x, chunk_size=2, interaction="ignore").method == "slices"
    jax.effects_barrier()
    assert len(passes) == 2 * -(-N // 2)  # once for each example of a chunk


@pytest.mark.parametrize("outputs", ["sum", "trace", "full"])
def test_a_single_example(float64, outputs):
    apply, params, x = MODELS["mlp"].made()
    kernel = quick_jit(lambda p, x: gram(apply, p, x, outputs=outputs))(params, x[:1])
    assert_kernel(kernel, options_of_mlp(outputs=outputs).matrix[:1, :1])


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("all", ("['b1']", "['b2']", "['w1']", "['w2']")),
        (lambda path: "1" in path, ("['b1']", "['w1']")),
        (lambda path: path == "['b2']", ("['b2']",)),
    ],
)
@pytest.mark.parametrize("method", ["one_pass", "slices", "jacobian"])
def test_chosen_parameters(float64, parameters, names, method):
    apply, params, x = MODELS["mlp"].made()
    kernel = options_of_mlp(parameters=parameters, method=method)
    assert kernel.parameters == names
    assert_kernel(kernel, compiled_slow_gram(apply, params, x, chosen=lambda path: path in names))


def test_biases_of_nnx_are_biases():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    kernel = gram(lambda state, x: nnx.merge(graph, state)(x), state, jnp.ones((2, 3)), parameters="weights")
    assert [name for name in kernel.contractions if "bias" in name] == []
    assert len(kernel.contractions) == 1


def test_weights_are_all_but_biases(float64):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "bias_net": {"scale": jnp.ones(2)}}
    x = Draw(0).data(2)
    kernel = gram(lambda p, x: x @ p["kernel"] * p["bias_net"]["scale"][None] + p["bias"][None], params, x, parameters="weights")
    assert kernel.parameters == ("['bias_net']['scale']", "['kernel']")


def test_methods_say_what_they_did(float64):
    assert options_of_mlp(method="auto").method == "one_pass"
    for method in ("slices", "jacobian"):
        kernel = options_of_mlp(method=method)
        assert (kernel.method, kernel.contractions) == (method, ())
    assert (kernel.objective, kernel.outputs) == ("logits", "sum")
    np.testing.assert_array_equal(np.asarray(kernel), kernel.matrix)


# Under other transformations


def seeds(build, count):
    apply, _, x = MODELS[build].made()
    return apply, jax.tree.map(lambda *leaves: jnp.stack(leaves), *(MODELS[build].made(seed)[1] for seed in range(count))), x


@pytest.mark.parametrize("count", [N, 2])
@pytest.mark.parametrize("name", ["mlp", "returned_unchanged", "ntk_parametrisation", "embedding_take"])
def test_a_vmap_over_seeds_is_not_taken_for_the_examples(float64, name, count):
    apply, params, x = seeds(name, count)
    kernels, reference = quick_jit(jax.vmap(lambda p: gram(apply, p, x)))(params), quick_jit(lambda p: slow_gram(apply, p, x))
    for at in range(count):
        one = jax.tree.map(lambda leaf, at=at: leaf[at], params)
        assert_kernel(jax.tree.map(lambda leaf, at=at: leaf[at], kernels), reference(one))


@pytest.mark.parametrize("count", [N, 3])
def test_gradients_that_are_the_same_for_all_examples_but_not_for_all_seeds(float64, count):
    """A bias of a linear network: its gradient depends on the seed's parameters alone."""

    def apply(p, x):
        return (x @ p["a"] + p["b"][None]) @ p["c"]

    draw = Draw(0)
    params = {"a": draw(count, 3, 4), "b": draw(count, 4), "c": draw(count, 4, 2)}
    x = draw.data(3)
    kernels = quick_jit(jax.vmap(lambda p: gram(apply, p, x)))(params)
    reference = quick_jit(jax.vmap(lambda p: slow_gram(apply, p, x)))(params)
    assert relative_error(kernels.matrix, reference) <= tolerances().gram


def test_kernels_leave_jit_with_what_they_are_kernels_of():
    apply, params, x = MODELS["mlp"].made()
    inside, outside = jax.jit(lambda p, x: gram(apply, p, x, outputs="trace"))(params, x), gram(apply, params, x, outputs="trace")
    assert jax.tree.structure(inside) == jax.tree.structure(outside)
    assert (inside.contractions, inside.parameters, inside.outputs) == (outside.contractions, outside.parameters, "trace")
    np.testing.assert_allclose(inside.matrix, outside.matrix, rtol=1e-5)


def test_a_traced_value_in_the_function_does_not_disturb(float64):
    apply, params, x = MODELS["mlp"].made()
    kernel = jax.jit(lambda factor: gram(lambda p, x: factor * apply(p, x), params, x).matrix)(jnp.asarray(2.0))
    rows = 2 * mlp_rows().sum(1)
    assert relative_error(kernel, rows @ rows.T) <= tolerances().gram


def test_kernels_are_differentiable(float64):
    apply, params, x = MODELS["mlp"].made()
    weight = Draw(3)(N, N, gain=1.0)
    fast = quick_jit(jax.grad(lambda p: jnp.vdot(weight, gram(apply, p, x, method="one_pass").matrix)))(params)
    slow = quick_jit(jax.grad(lambda p: jnp.vdot(weight, slow_gram(apply, p, x))))(params)
    for name, leaf in slow.items():
        assert relative_error(fast[name], leaf, floor=1e-3) <= tolerances().gram, name


# Compilations


def test_a_second_call_compiles_nothing():
    traced = []

    def apply(p, x):
        traced.append(x.shape)
        return jnp.tanh(x @ p)

    for seed in range(3):
        draw = Draw(seed)
        gram(apply, draw(4, 3), draw.data(4))
    first = len(traced)
    for seed in range(3):
        draw = Draw(seed)
        gram(apply, draw(4, 3), draw.data(4))
    assert first > 1
    assert len(traced) == first


# Mixed and low precision


def test_bfloat16_parameters_are_accumulated_in_single_precision():
    """All numbers are small integers: every product is exact in bfloat16, the sums of thousands are not."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (N, 3, 700))
    w = jnp.asarray(rng.integers(-1, 2, (700, 2)), jnp.bfloat16)

    def apply(p, x):
        return jnp.dot(x, p["w"], preferred_element_type=jnp.float32).sum(1) + p["b"][None].astype(jnp.float32)

    kernel = gram(apply, {"w": w, "b": jnp.zeros(2, jnp.bfloat16)}, jnp.asarray(x, jnp.bfloat16))
    assert kernel.matrix.dtype == jnp.float32
    rows = x.sum(1)
    np.testing.assert_array_equal(kernel.matrix, 2 * rows @ rows.T + 2)


def test_parameters_of_several_precisions():
    draw = Draw(0)
    params = {
        "w": draw(4, 4).astype(jnp.bfloat16),
        "b": draw(4),
        "k": draw(3, 3, 2, 4).astype(jnp.bfloat16),
        "s": draw(4).astype(jnp.float16),
    }
    x = {"v": draw.data(4), "image": draw.data(4, 4, 2)}

    def apply(p, x):
        y = (x["v"].astype(jnp.bfloat16) @ p["w"]).astype(jnp.float32) + p["b"][None]
        return y * p["s"][None].astype(jnp.float32) + conv(x["image"].astype(jnp.bfloat16), p["k"]).astype(jnp.float32).sum((1, 2))

    kernel = gram(apply, params, x)
    assert kernel.matrix.dtype == jnp.float32
    assert_kernel(kernel, gram(apply, params, x, method="jacobian").matrix, tolerances().low_precision)


def test_low_precision_is_not_taken_for_interaction():
    draw = Draw(0)
    w, u = draw(64, 64).astype(jnp.bfloat16), draw(64, 3).astype(jnp.bfloat16)
    gram(lambda p, x: jnp.tanh(x @ p[0]) @ p[1], (w, u), draw.data(64).astype(jnp.bfloat16))


def test_large_tables_go_through_their_gradients(float64, monkeypatch):
    from jknas.kernels.tape import operations

    monkeypatch.setattr(operations, "lookup_form", lambda layout, positions, table: ("direct", operations_scattered(table)))
    kernel, _ = check_model("embedding_dropped")
    assert forms(kernel) == {"direct": 1, "pairwise": 1}


def operations_scattered(table):
    from jknas.kernels.tape.rows import scattered

    return functools.partial(scattered, rows=table[0])


def test_the_form_of_a_look_up_follows_its_size():
    from jknas.kernels.tape.rows import Layout, lookup_form

    layout = Layout(64, 0, 1, jnp.float32)
    assert lookup_form(layout, 16, (1000, 64))[0] == "lookup"
    assert lookup_form(layout, 2048, (1000, 64))[0] == "direct"  # pairs of tokens: 17 thousand million; gradients: 4 million
    assert lookup_form(layout, 128, (50_000, 512))[0] == "lookup"
    assert (
        lookup_form(layout, 64, (64, 256))[0] == "direct"
    )  # a table of positions: 4 million products for 64 gradients, 69 thousand million
    assert lookup_form(Layout(4, 0, 1, jnp.float32), 8, (10, 6))[0] == "lookup"  # few of either


# Examples that interact


def batch_norm(p, x):
    return ((x - x.mean(0, keepdims=True)) / (x.std(0, keepdims=True) + 0.1)) @ p


def test_examples_that_interact_are_refused():
    draw = Draw(0)
    p, x = draw(4, 3), draw.data(4)
    with pytest.raises(ValueError, match=r"outputs change by up to .* the examples interact, as in training-mode batch norm.*ntk_coupled"):
        gram(batch_norm, p, x)
    ignored = gram(batch_norm, p, x, interaction="ignore").matrix
    np.testing.assert_array_equal(ignored, np.zeros((N, N)))  # an example alone is its own mean
    jax.jit(lambda p, x: gram(batch_norm, p, x))(p, x)  # traced: cannot be looked at


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "fast"}, "Unknown method 'fast'; expected one of auto, one_pass, slices, jacobian"),
        ({"outputs": "ful"}, "Unknown outputs 'ful'.*Did you mean 'full'"),
        ({"interaction": "no"}, "Unknown interaction 'no'"),
        ({"objective": "logit"}, "objective='logit' is not known; choose 'loss' or 'logits'"),
        ({"parameters": "biases"}, "parameters='biases' is not known"),
        ({"parameters": lambda path: False}, r"chooses none of the 4 leaves \(\['b1'\]"),
        ({"objective": "loss"}, r'objective="loss" needs labels \[n\]'),
        ({"objective": "loss", "labels": np.zeros(N - 1, int)}, r"labels must be 5 integers, one per example, got int32\[4\]"),
        ({"objective": "loss", "labels": np.zeros(N)}, r"labels must be 5 integers.*float32\[5\]"),
        ({"objective": "loss", "labels": np.zeros(N, int), "x2": np.zeros((2, 5), np.float32)}, r"needs labels2 \[n\]"),
        ({"objective": "loss", "outputs": "full"}, "outputs='full' combines the model's outputs"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"x2": np.zeros((0, 5), np.float32)}, r"x2 must be arrays with one common leading axis.*\(0, 5\)"),
        ({"x2": {"a": np.zeros((2, 5)), "b": np.zeros(3)}}, r"x2 must be arrays with one common leading axis.*\(2, 5\), \(3,\)"),
        ({"x2": np.float32(1)}, "x2 must be arrays with one common leading axis"),
    ],
)
def test_errors_of_the_arguments(change, message):
    apply, params, x = MODELS["mlp"].made()
    with pytest.raises(ValueError, match=message):
        gram(apply, params, x, **change)


@pytest.mark.parametrize(
    "outcome",
    [lambda y: y.sum(), lambda y: y[:, :, None], lambda y: (y, y), lambda y: jnp.concatenate([y, y])],
    ids=["scalar", "cube", "tuple", "two rows"],
)
def test_models_that_return_no_row_an_example(outcome):
    draw = Draw(0)
    with pytest.raises(ValueError, match="the model must return"):
        gram(lambda p, x: outcome(x @ p), draw(4, 3), draw.data(4))


def test_what_jax_cannot_differentiate_is_left_to_it():
    draw = Draw(0)

    def apply(p, x):
        return lax.while_loop(lambda v: jnp.all(v < 100), lambda v: v * jnp.exp(p)[None], x + 1)

    with pytest.raises(ValueError, match=r"[Rr]everse-mode differentiation does not work"):
        gram(apply, draw(3), jnp.abs(draw.data(3)), interaction="ignore")


@pytest.mark.parametrize("apply", [lambda p, x: x @ p / x.shape[0], lambda p, x: x @ p + x[::-1] @ p], ids=["size of the batch", "order"])
def test_other_interactions(apply):
    draw = Draw(0)
    with pytest.raises(ValueError, match="the examples interact"):
        gram(apply, draw(4, 3), draw.data(4))


def test_mixed_precision_inside_is_not_taken_for_interaction():
    draw = Draw(0)

    def apply(p, x):
        half = [value.astype(jnp.bfloat16) for value in (x, *p)]
        return (jnp.tanh(half[0] @ half[1]) @ half[2]).astype(jnp.float32)

    gram(apply, (draw(64, 64), draw(64, 3)), draw.data(64))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 7), (7, 3)])
def test_large_gradients_of_dense_layers_are_contracted_in_blocks(monkeypatch, float64, inputs, outputs):
    rng = np.random.default_rng(0)
    first, second = ([jnp.asarray(rng.normal(size=(n, 2, 1, 5, width))) for width in (inputs, outputs)] for n in (4, 6))
    flat = [jnp.einsum("nkbtc,nkbtf->nkcf", *side).reshape(len(side[0]), -1) for side in (first, second)]
    monkeypatch.setattr(rows, "_IN_CACHE", 64)  # blocks of one or two of the seven columns
    one, both = jax.jit(lambda side: rows.dense_direct(side, side)), jax.jit(rows.dense_direct)
    np.testing.assert_allclose(one(first), flat[0] @ flat[0].T, rtol=1e-12)
    np.testing.assert_allclose(both(first, second), flat[0] @ flat[1].T, rtol=1e-12)
    assert "while" in one.lower(first).as_text()
