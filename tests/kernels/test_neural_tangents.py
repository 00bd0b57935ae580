"""The bridge to neural-tangents: its import, its empirical kernel against plain autodiff, and the kernel of infinite width.

neural-tangents is an extra that brings TensorFlow with its dependencies; to run these tests: ``pip install --no-deps neural-tangents
frozendict``.
"""

import sys
from importlib.util import find_spec

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from tolerances import relative_error

from jknas.errors import NeuralTangentsImportError
from jknas.kernels.neural_tangents.empirical import neural_tangents_gram
from jknas.kernels.neural_tangents.shim import import_neural_tangents
from jknas.kernels.objectives import per_example
from jknas.networks.layers.pooling import average_pool_2x2, average_pool_3x3
from jknas.networks.nasbench201 import infinite_width
from jknas.networks.nasbench201.infinite_width import infinite_width_kernel
from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype
from jknas.spaces.nasbench201.space import NAMED, NASBENCH201

installed = pytest.mark.skipif(
    find_spec("neural_tangents") is None or find_spec("frozendict") is None,
    reason="neural-tangents is not installed: pip install --no-deps neural-tangents frozendict",
)
SKIP, RESNET = NAMED["all_skip_connect"], NAMED["resnet"]


# The import


@pytest.mark.parametrize("missing", ["neural_tangents", "frozendict"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    command = r'pip install --no-deps "neural-tangents>=0.6.5" && pip install "frozendict>=2.3.8"'
    for call in (
        import_neural_tangents,
        lambda: infinite_width_kernel(SKIP, np.zeros((1, 4, 4, 3))),
        lambda: neural_tangents_gram(lambda w, x: x @ w, jnp.ones(2), jnp.ones((3, 2))),
    ):
        with pytest.raises(NeuralTangentsImportError, match=f"{missing}.* cannot be imported") as caught:
            call()
        assert command in str(caught.value)


@installed
def test_an_import_leaves_jax_as_it_was(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)
    import jax.interpreters.ad

    before = set(vars(jax.core)), set(vars(jax.interpreters.ad)), sys.modules.get("jax.util")
    module = import_neural_tangents()
    assert before == (set(vars(jax.core)), set(vars(jax.interpreters.ad)), sys.modules.get("jax.util"))
    assert "neural_tangents.experimental" not in sys.modules
    assert import_neural_tangents() is module
    with pytest.raises(AttributeError, match=r"experimental\.empirical_ntk_fn_tf needs TensorFlow"):
        _ = module.experimental.empirical_ntk_fn_tf


@installed
def test_a_failed_import_leaves_no_half_package(monkeypatch):
    names = [name for name in sys.modules if name.partition(".")[0] == "neural_tangents"]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "neural_tangents.stax", None)
    with pytest.raises(NeuralTangentsImportError, match=r"does not import on JAX .* Known to work: neural-tangents 0.6.5"):
        import_neural_tangents()
    assert not any(name.startswith("neural_tangents._src") for name in sys.modules)


# The empirical kernel


def perceptron(params, x):
    return jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None]) @ params["out"]["kernel"]


def convolutional(params, x):
    """A batch is centred, so that examples interact unless each is seen alone."""
    y = jax.lax.conv_general_dilated(x, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = y - y.mean(0, keepdims=True) if len(x) > 1 else y + jax.lax.broadcast_to_rank(params["bias"], 4)
    return jax.nn.relu(y).mean((1, 2)) @ params["out"]


def case(name):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape))  # noqa: E731
    if name == "perceptron":
        params = {"hidden": {"kernel": draw(5, 7), "bias": draw(7)}, "out": {"kernel": draw(7, 3)}, "steps": jnp.zeros((), jnp.int32)}
        return perceptron, params, draw(6, 5), jnp.asarray(rng.integers(0, 3, 6))
    params = {"conv": draw(3, 3, 2, 4), "bias": draw(4), "out": draw(4, 3)}
    return convolutional, params, draw(6, 4, 4, 2), jnp.asarray(rng.integers(0, 3, 6))


def plain(apply, params, x, labels, *, objective, chosen=lambda name: True):
    rows = []
    for i in range(len(x)):
        score = lambda p, i=i: per_example(apply(p, x[i : i + 1]), labels[i : i + 1], objective=objective)[0]  # noqa: E731
        gradient = jax.grad(score, allow_int=True)(params)
        leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(gradient)]
        rows.append(np.concatenate([np.ravel(leaf) for name, leaf in leaves if "steps" not in name and chosen(name)]))
    return np.stack(rows) @ np.stack(rows).T


# neural-tangents asks for the size of abstract values, which JAX will stop answering; it concerns implementation 2 only.
old_size = pytest.mark.filterwarnings("ignore:size requires ndarray or scalar arguments:DeprecationWarning")


@installed
@old_size
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("objective", ["logits", "loss"])
@pytest.mark.parametrize("model", ["perceptron", "convolutional"])
def test_equals_plain_gradients(model, objective, implementation):
    apply, params, x, labels = case(model)
    expected = plain(apply, params, x, labels, objective=objective)
    options = {"objective": objective, "implementation": implementation}
    got = quick_jit(lambda p, x, y: neural_tangents_gram(apply, p, x, labels=y, **options))(params, x, labels)
    assert relative_error(got, expected) < 1e-12
    rectangle = quick_jit(lambda p, x, y, x2, y2: neural_tangents_gram(apply, p, x, x2, labels=y, labels2=y2, **options))
    assert relative_error(rectangle(params, x, labels, x[1:3], labels[1:3]), expected[:, 1:3]) < 1e-12


@installed
@old_size
@pytest.mark.parametrize("implementation", [1, 2])
def test_a_reverse_rule_of_the_model_is_used(implementation):
    square = jax.custom_vjp(jnp.square)
    square.defvjp(lambda w: (w**2, w), lambda w, cotangent: (3 * w * cotangent,))  # 3 w for 2 w: told apart from JAX's own rule
    w, x = jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [1.0, -1.0]])
    got = quick_jit(lambda w, x: neural_tangents_gram(lambda w, x: x @ square(w), w, x, implementation=implementation))(w, x)
    np.testing.assert_allclose(got, [[9.0, 9.0], [9.0, 45.0]])


@installed
@pytest.mark.usefixtures("float64")
def test_parameters_choose_what_is_differentiated():
    apply, params, x, labels = case("perceptron")
    for parameters, chosen in (("weights", lambda name: "bias" not in name), (lambda name: "out" in name,) * 2):
        got = neural_tangents_gram(apply, params, x, parameters=parameters)
        assert relative_error(got, plain(apply, params, x, labels, objective="logits", chosen=chosen)) < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"implementation": 3}, "implementation=3: structured derivatives read internals that current JAX no longer has; choose 1"),
        ({"implementation": 0}, "choosing automatically would try implementation 3"),
        ({"implementation": 4}, "there is no such implementation; choose 1 .* or 2"),
        ({"objective": "loss"}, r'objective="loss" needs labels=... \[n\]'),
        ({"objective": "loss", "x2": jnp.ones((2, 5)), "labels": jnp.zeros(6, int)}, r"needs labels2=... \[m\] for x2"),
        ({"parameters": "conv"}, "parameters='conv' is not known"),
    ],
)
def test_errors_of_the_empirical_kernel_teach(change, message):
    apply, params, x, _ = case("perceptron")
    with pytest.raises(ValueError, match=message):
        neural_tangents_gram(apply, params, x, **change)


# The kernel of infinite width


@pytest.fixture(scope="module", autouse=True)
def traces():
    """Compile layers fast instead of well, and list their tracings."""
    traced = []

    def compiled(layer):
        def kernel(*inputs):
            traced.append(inputs)
            return layer(*inputs)

        return quick_jit(kernel)

    builders = infinite_width._stem, infinite_width._operation, infinite_width._shortcut, infinite_width._head
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infinite_width, "_compiled", compiled)
        for builder in builders:
            builder.cache_clear()
        yield traced
    for builder in builders:
        builder.cache_clear()


def images(n=4, side=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, side, side, 3))


@installed
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("genotype", [SKIP, RESNET], ids=["skip", "resnet"])
def test_symmetric_positive_definite_and_repeatable(genotype, kind):
    x = images()
    kernel = infinite_width_kernel(genotype, x, kind=kind)
    assert kernel.dtype == np.float64
    assert kernel.shape == (4, 4)
    assert relative_error(kernel, kernel.T) < 1e-12
    assert np.linalg.eigvalsh(kernel)[0] > 1e-3
    np.testing.assert_array_equal(infinite_width_kernel(genotype, x, kind=kind), kernel)


@installed
def test_images_may_come_in_any_order_blocks_or_sets():
    x, order = images(), np.array([2, 0, 3, 1])
    whole = infinite_width_kernel(RESNET, x)
    # Equal images differ by a rounding error, whose root is the angle between them: 1e-8.
    assert relative_error(infinite_width_kernel(RESNET, x[order]), whole[np.ix_(order, order)]) < 1e-7
    assert relative_error(infinite_width_kernel(RESNET, x, x[order]), whole[:, order]) < 1e-7
    assert np.abs(whole - whole[np.ix_(order, order)]).max() > 1e-3
    whole = infinite_width_kernel(SKIP, x)
    assert relative_error(infinite_width_kernel(SKIP, x, block_size=2), whole) < 1e-7


@installed
def test_genotypes_share_their_programs(traces):
    infinite_width_kernel(RESNET, images())
    before = len(traces)
    infinite_width_kernel(NAMED["all_nor_conv_3x3"], images(seed=1), kind="ntk", cells=2)
    assert before == len(traces) > 0


@installed
def test_cells_of_one_function_have_one_kernel():
    # Both pool the image once, by way of node 1 and of node 2; the second holds a convolution too, that reaches nothing.
    one = CellGenotype(("avg_pool_3x3", "none", "none", "none", "skip_connect", "none"))
    two = CellGenotype(("nor_conv_3x3", "avg_pool_3x3", "none", "none", "none", "skip_connect"))
    three = CellGenotype(("nor_conv_3x3", "avg_pool_3x3", "none", "none", "none", "avg_pool_3x3"))
    assert NASBENCH201.canonical(one) == NASBENCH201.canonical(two) != NASBENCH201.canonical(three)
    kernels = [infinite_width_kernel(cell, images()) for cell in (one, two, three)]
    assert relative_error(kernels[1], kernels[0]) < 1e-9
    assert relative_error(kernels[2], kernels[0]) > 1e-3


@installed
def test_a_dead_cell_has_a_kernel_of_zeros():
    np.testing.assert_array_equal(infinite_width_kernel(CellGenotype(("none",) * 6), images(), images(2)), np.zeros((4, 2)))


def gaussian_kernel(n, side):
    """A Kernel record with the covariances of arbitrary Gaussian images, one channel, all pairs of pixels."""
    stax = import_neural_tangents().stax
    x = images(n, side)
    return stax.Conv(1, (1, 1))[2](x, x[::-1].copy(), None, diagonal_spatial=False)


@installed
@pytest.mark.usefixtures("float64")
def test_sums_of_correlated_terms_are_the_linear_map_of_the_whole():
    # Node 3 of this cell is x + 2 P x + P P x.
    cell = CellGenotype(("avg_pool_3x3", "avg_pool_3x3", "skip_connect", "skip_connect", "avg_pool_3x3", "skip_connect"))
    with jax.numpy_dtype_promotion("standard"):
        k = gaussian_kernel(2, 4)
        got = infinite_width._cell(cell, {})(k)
        one = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) <= 1
        pool = np.kron(one / one.sum(1, keepdims=True), one / one.sum(1, keepdims=True))
        q = np.eye(16) + 2 * pool + pool @ pool
        for name, batch in (("nngp", 2), ("ntk", 2), ("cov1", 1), ("cov2", 1)):
            flat = lambda array, batch=batch: np.moveaxis(np.asarray(array), batch + 1, batch + 2).reshape((-1, 16, 16))  # noqa: E731
            assert relative_error(flat(getattr(got, name)), q @ flat(getattr(infinite_width._upright(k), name)) @ q.T) < 1e-12


@installed
@pytest.mark.usefixtures("float64")
def test_pooling_is_that_of_neural_tangents_with_padding_not_counted():
    with jax.numpy_dtype_promotion("standard"):
        k = infinite_width._upright(gaussian_kernel(2, 4))
        pool = import_neural_tangents().stax.AvgPool((3, 3), (1, 1), padding="SAME", normalize_edges=True)
        for name in ("nngp", "ntk", "cov1", "cov2"):
            assert relative_error(getattr(infinite_width._pooled(k, (0, 1)), name), getattr(pool[2](k), name)) < 1e-12


@installed
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_are_padded_on_all_sides_and_before(stride):
    with jax.numpy_dtype_promotion("standard"):
        kernel = infinite_width._convolution(3, 1.0, stride)
        x = jnp.asarray(images(2, 4))
        # The variance of an output pixel is the mean of the squares under its window, zeros around the image included.
        squares = np.pad(np.asarray(x) ** 2, [(0, 0), (1, 1), (1, 1), (0, 0)]).sum(-1) / 27
        windows = np.lib.stride_tricks.sliding_window_view(squares, (3, 3), (1, 2)).sum((-1, -2))[:, ::stride, ::stride]
        cov1, nngp = jnp.einsum("nhwc,nijc->nhiwj", x, x) / 3, jnp.einsum("nhwc,mijc->nmhiwj", x, x) / 3
        k = infinite_width._upright(gaussian_kernel(2, 4)).replace(cov1=cov1, nngp=nngp)
        layer = jax.jit(lambda k: infinite_width._upright(kernel(k)))
        assert relative_error(jnp.einsum("nhhww->nhw", layer(k).cov1), windows) < 1e-12
        assert relative_error(jnp.einsum("nnhhww->nhw", layer(k).nngp), windows) < 1e-12
        # A padded float64 convolution of one channel may end the process on CPU (see infinite_width._convolution).
        convolutions = [line for line in layer.lower(k).compile().as_text().splitlines() if " convolution(" in line]
        assert convolutions
        assert not any("pad=" in line for line in convolutions)


def finite_network(genotype, *, channels, classes, gain):
    """A network of one cell per stage in NTK parametrisation, without stax: ``apply(weights, x)`` and the weights' shapes."""

    def run(x, weigh):
        def normalised(x):
            return (x - x.mean((1, 2, 3), keepdims=True)) * jax.lax.rsqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)

        def convolved(x, features, side, stride=1):
            kernel = weigh((side, side, x.shape[-1], features))
            around = [(side // 2, side // 2)] * 2
            y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return gain * y / (side**2 * x.shape[-1]) ** 0.5

        def operation(x, features, side, stride=1):
            return normalised(convolved(jax.nn.relu(x), features, side, stride))

        def cell(x):
            nodes = [x, *[jnp.zeros_like(x)] * 3]
            for name, (node, source) in zip(genotype.operations, EDGES, strict=True):
                if name == "skip_connect":
                    nodes[node] += nodes[source]
                elif name == "avg_pool_3x3":
                    nodes[node] += average_pool_3x3(nodes[source])
                elif name != "none":
                    nodes[node] += operation(nodes[source], x.shape[-1], {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name])
            return nodes[3]

        x = cell(normalised(convolved(x, channels, 3)))
        for features in (2 * channels, 4 * channels):
            shortcut = convolved(average_pool_2x2(x), features, 1)
            x = cell(operation(operation(x, features, 3, 2), features, 3) + shortcut)
        pooled = jax.nn.relu(normalised(x)).mean((1, 2))
        return gain * pooled @ weigh((pooled.shape[-1], classes)) / pooled.shape[-1] ** 0.5

    shapes = []
    jax.eval_shape(lambda x: run(x, lambda shape: shapes.append(shape) or jnp.zeros(shape)), jnp.zeros((1, 8, 8, 3)))

    def apply(weights, x):
        left = iter(weights)
        return run(x, lambda shape: next(left))

    return apply, shapes


@pytest.mark.slow
@installed
def test_finite_networks_tend_to_it():
    # x + 2 P x + convolution of x: a sum of dependent and of independent terms in every cell.
    cell = CellGenotype(("skip_connect", "nor_conv_3x3", "avg_pool_3x3", "avg_pool_3x3", "skip_connect", "skip_connect"))
    x = images(3, side=8)
    x[1] = 0.7 * x[0] + 0.3 * x[1]
    classes, seeds = 256, 24
    with jax.numpy_dtype_promotion("standard"):
        batch = jnp.asarray(x, jnp.float32)
        apply, shapes = finite_network(cell, channels=128, classes=classes, gain=3**-0.5)

        @jax.jit
        def sample(key):
            params = [jax.random.normal(one, shape) for one, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)]
            logits = apply(params, batch)
            gradients = jax.vmap(lambda image: jax.grad(lambda p: apply(p, image[None])[0, 0])(params))(batch)
            rows = [leaf.reshape(len(batch), -1) for leaf in jax.tree.leaves(gradients)]
            return logits @ logits.T / classes, sum(leaf @ leaf.T for leaf in rows)

        nngp, ntk = (np.mean(matrices, axis=0) for matrices in zip(*map(sample, jax.random.split(jax.random.key(0), seeds)), strict=True))
    assert relative_error(nngp, infinite_width_kernel(cell, x, kind="nngp")) < 0.06
    assert relative_error(ntk, infinite_width_kernel(cell, x, kind="ntk")) < 0.06


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"genotype": str(SKIP)}, TypeError, "genotype must be a CellGenotype, got str; parse strings with CellGenotype.parse"),
        ({"kind": "ntkk"}, ValueError, "kind='ntkk' is not known; choose 'ntk' .* or 'nngp'"),
        ({"cells": 0}, ValueError, "cells must be a positive integer, got 0"),
        ({"block_size": 0}, ValueError, "block_size must be a positive integer, got 0"),
        ({"weight_variance": 0.0}, ValueError, "weight_variance must be positive, got 0.0"),
        ({"x": np.zeros((2, 6, 8, 3))}, ValueError, r"height and width multiples of 4 .* got \(2, 6, 8, 3\)"),
        ({"x2": np.zeros((2, 8, 8, 3))}, ValueError, r"x and x2 must be images of one size, got \(4, 4, 3\) and \(8, 8, 3\)"),
    ],
)
def test_errors_of_the_infinite_kernel_teach(change, error, message):
    arguments = {"genotype": SKIP, "x": images(2), **change}
    with pytest.raises(error, match=message):
        infinite_width_kernel(arguments.pop("genotype"), arguments.pop("x"), **arguments)
