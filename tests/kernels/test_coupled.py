"""The kernel of examples that interact, against the Jacobian written out, golden numbers and those recorded from TE-NAS's own code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from golden import golden_images
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import SMALL, WIDE, load, recording
from supernet import golden_supernet, mixture, recorded_supernet
from tolerances import relative_error

from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import gram
from jknas.kernels.spectrum import spectrum
from jknas.networks.nasbench201.network import CellNetwork
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

EXACT = 1e-12
"""Two orders of summation in float64."""
RECORDED = 1e-9
"""Float64 against PyTorch's float64; seen: 2e-14."""


kernel = quick_jit(ntk_coupled, static_argnames=("apply", "objective", "parameters", "chunk_size"))


def normalised(hidden, scale):
    return scale[None] * (hidden - hidden.mean(0)[None]) / jnp.sqrt(hidden.var(0)[None] + 1e-5)


def perceptron(params, x, *, batch_norm=True):
    hidden = x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None]
    hidden = normalised(hidden, params["scale"]) if batch_norm else hidden * params["scale"][None]
    return jnp.tanh(hidden) @ params["out"]["kernel"] + params["out"]["bias"][None]


def alone(params, x):
    return perceptron(params, x, batch_norm=False)


def case(seed=0, n=7):
    draw = np.random.default_rng(seed).standard_normal
    hidden = {"kernel": draw((5, 6)), "bias": draw(6)}
    params = {"hidden": hidden, "scale": 1 + draw(6), "out": {"kernel": draw((6, 3)), "bias": draw(3)}}
    labels = np.random.default_rng(seed).integers(0, 3, n)
    return jax.tree.map(jnp.asarray, params), jnp.asarray(draw((n, 5))), jnp.asarray(labels)


def written_out(params, x, labels, objective, parameters):
    """J J^T with the Jacobian of the batch's N objectives, parameter by parameter."""

    def objectives(params):
        outputs = perceptron(params, x)
        if objective == "logits":
            return outputs.sum(1)
        return jax.nn.logsumexp(outputs, axis=1) - outputs[jnp.arange(len(labels)), labels]

    jacobian = quick_jit(jax.jacrev(objectives))(params)
    if parameters == "weights":
        jacobian = {"hidden": jacobian["hidden"]["kernel"], "scale": jacobian["scale"], "out": jacobian["out"]["kernel"]}
    rows = np.concatenate([np.asarray(leaf).reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
    return rows @ rows.T


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("objective", ["logits", "loss"])
@pytest.mark.parametrize("parameters", ["weights", "all"])
def test_it_is_the_jacobian_times_its_transpose(objective, parameters):
    params, x, labels = case()
    expected = written_out(params, x, labels, objective, parameters)
    found = kernel(perceptron, params, x, labels, objective=objective, parameters=parameters)
    assert relative_error(found, expected) < EXACT
    # and batch normalisation matters: the kernel of each example alone is another
    apart = gram(perceptron, params, x, labels=labels, objective=objective, parameters=parameters, interaction="ignore")
    assert relative_error(apart.matrix, expected) > 1e-2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["one_pass", "jacobian"])
@pytest.mark.parametrize("objective", ["logits", "loss"])
def test_without_interaction_it_is_the_kernel_of_each_example_alone(method, objective):
    params, x, labels = case()
    coupled = kernel(alone, params, x, labels, objective=objective, parameters="all")
    assert relative_error(coupled, gram(alone, params, x, labels=labels, objective=objective, method=method).matrix) < EXACT


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), chunk_size=st.sampled_from((1, 3, 7)))
def test_the_chunk_size_does_not_matter(seed, chunk_size):
    with jax.enable_x64(True):
        params, x, _ = case(seed)
        whole, chunked = kernel(perceptron, params, x), kernel(perceptron, params, x, chunk_size=chunk_size)
        assert relative_error(chunked, whole) < EXACT


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_it_is_positive_and_permutes_with_the_examples(seed):
    with jax.enable_x64(True):
        params, x, _ = case(seed)
        order = np.random.default_rng(seed).permutation(len(x))
        matrix = np.asarray(kernel(perceptron, params, x))
        assert relative_error(kernel(perceptron, params, x[order]), matrix[order][:, order]) < 1e-10
        assert spectrum(matrix).status in ("ok", "saturated")


def test_float32_stays_float32_and_agrees():
    params, x, labels = case()
    found = kernel(perceptron, params, x)
    assert found.dtype == jnp.float32
    assert relative_error(found, written_out(params, x, labels, "logits", "weights")) < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"objective": "hinge"}, "objective='hinge' is not known"),
        ({"objective": "loss"}, 'objective="loss" needs labels'),
        ({"parameters": "some"}, "parameters='some' is not known"),
    ],
)
def test_arguments_that_do_not_fit(options, words):
    params, x, _ = case()
    with pytest.raises(ValueError, match=words):
        ntk_coupled(perceptron, params, x, **options)


# ---- golden and recorded kernels


# Compiled as for users: float64 convolutions that are not optimised would take longer than the compilation.
@functools.partial(jax.jit, static_argnums=0)
def training_kernel(network, params, x, wiring):
    """TE-NAS's kernel, and the logits."""

    def apply(params, x):
        return network.apply(params, x, wiring, statistics="batch")

    return ntk_coupled(apply, params, x), apply(params, x)


SUPERNETS = [
    ((1, 2, 3, 4), (0.022294, -0.038823, 0.090626), 5.00512212, 264.962459, 52.9382606),
    ((3,), (0.043606, -0.043621, 0.035526), 8.44660967, 186.633634, 22.0956859),
    ((2,), (0.126775, -0.187838, 0.303990), 7.65317468, 159.987983, 20.9047865),
    ((1,), (0.142143, -0.164727, 0.191851), 1.19538038, 188.396719, 157.603991),
    ((4,), (0.211686, -0.285313, 0.500233), 4.16482438, 3688.66786, 885.671885),
]


def check_golden(found, row):
    (matrix, outputs), (_, logits, lambda_min, lambda_max, condition_number) = found, row
    np.testing.assert_allclose(outputs[0, :3], logits, atol=6e-7)  # printed with six decimals
    found = spectrum(matrix)
    assert found.status == "ok"
    assert found.lambda_min == pytest.approx(lambda_min, rel=1e-6)
    assert found.lambda_max == pytest.approx(lambda_max, rel=1e-6)
    assert found.condition_number == pytest.approx(condition_number, rel=1e-6)


@pytest.mark.slow  # all operations of all edges take two minutes to compile
@pytest.mark.usefixtures("float64")
def test_the_golden_supernet_has_the_documented_spectra():
    """The network of TE-NAS, 3 channels and 1 cell a stage, every edge the mean of its live operations."""
    network = CellNetwork(3, 1)
    params = golden_supernet(network)["params"]
    for row in SUPERNETS:
        check_golden(training_kernel(network, params, golden_images(8, 32), mixture(row[0])), row)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_a_supernet_of_one_live_operation_is_that_architecture():
    network, row = CellNetwork(3, 1), SUPERNETS[2]
    genotype = CellGenotype((OPERATIONS[row[0][0]],) * len(EDGES))
    compute = quick_jit(lambda params, x: training_kernel.__wrapped__(network, params, x, genotype))
    check_golden(compute(golden_supernet(network)["params"], golden_images(8, 32)), row)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_recorded_supernet_has_the_recorded_kernels(fixtures_folder):
    recorded = load(fixtures_folder, "_tenas_supernet_C3N1")
    network = CellNetwork(3, 1)
    state = {name.removeprefix("sd/"): value for name, value in recorded.items() if name.startswith("sd/")}
    params, x = recorded_supernet(network, state)["params"], jnp.asarray(recorded["x_nhwc"], float)
    for alphas in ("full", "pruned3", "single"):
        wiring = jax.nn.softmax(jnp.asarray(recorded[f"{alphas}/alphas"], float))
        matrix, logits = training_kernel(network, params, x, wiring)
        assert relative_error(logits, recorded[f"{alphas}/logits_train_f64"]) < RECORDED
        assert relative_error(matrix, recorded[f"{alphas}/gram_f64"]) < RECORDED
        assert spectrum(matrix).condition_number == pytest.approx(float(recorded[f"{alphas}/cond_f64"]), rel=RECORDED)


@functools.partial(jax.jit, static_argnums=(0, 3))
def both_training_kernels(network, params, x, genotype):
    """The kernels of the weights and of all parameters, in one program, which shares the backward passes."""
    apply = lambda params, x: network.apply(params, x, genotype, statistics="batch")  # noqa: E731
    return {
        "ntk_w_train": ntk_coupled(apply, params, x, parameters="weights"),
        "ntk_all_train": ntk_coupled(apply, params, x, parameters="all"),
    }


@functools.partial(quick_jit, static_argnums=(0, 3))
def evaluation_kernel(network, variables, x, genotype):
    def apply(params, x):
        return network.apply(params, x, genotype, statistics="running", batch_stats=variables["batch_stats"])

    return {"ntk_w_eval": gram(apply, variables["params"], x, parameters="weights", method="one_pass").matrix}


def compare(recorded, kernels):
    for name, matrix in kernels.items():
        # A cell of nothing but "none" has logits that no image changes: its kernel is zero up to the classifier's rounding.
        assert relative_error(matrix, recorded.arrays[f"{name}/gram_f64"]) < RECORDED, name
        found, expected = spectrum(matrix), float(recorded.arrays[f"{name}/cond_f64"])
        if not recorded.arrays[f"{name}/gram_f64"].any():
            assert (found.status, expected) == ("dead", 1e5), name  # the released code writes 1e5 for 0 / 0
        elif 0 < expected < 1e12:
            assert found.condition_number == pytest.approx(expected, rel=1e-5), name  # up to 1.6e9, which amplifies rounding
        else:
            assert found.status == "saturated", name


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_recorded_cells_have_the_recorded_training_kernels(fixtures_folder, name):
    recorded = recording(fixtures_folder, name)
    params = recorded.variables()["params"]
    compare(recorded, both_training_kernels(recorded.network, params, recorded.images(), recorded.genotype))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_recorded_cells_have_the_recorded_evaluation_kernels(fixtures_folder, name):
    """With running averages the examples are independent, and the kernel is one pass of the tape."""
    recorded = recording(fixtures_folder, name)
    compare(recorded, evaluation_kernel(recorded.network, recorded.variables(), recorded.images(), recorded.genotype))
