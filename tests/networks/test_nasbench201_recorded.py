"""The networks against numbers recorded from PyTorch, from the same weights on the same images.

The wiring is given as a code, so that one compilation serves all cells of a size; the tests of the wirings show that a genotype computes
the same. The weights of the operations that a cell does not choose are random here: they must not matter.
"""

import contextlib
import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import completed
from recordings import SMALL, WIDE, fifty_examples, load, recording
from tolerances import assert_close, relative_error, tolerances

from jknas.kernels.gram import gram
from jknas.networks.nasbench201.network import restrict
from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.torch_state import to_state_dict

CASES = [pytest.param("float64", name) for name in SMALL]
CASES += [pytest.param("float32", name, marks=[pytest.mark.slow] if "allconv3" in name else []) for name in SMALL]
CASES += [pytest.param(dtype, name, marks=pytest.mark.slow) for dtype in ("float64", "float32") for name in WIDE]
# A unit of this cell has an input that float32 rounds to either side of zero, depending on the order of its sums.
FLIPPED = {("float32", "A_g06_mix5ops")}


@contextlib.contextmanager
def precision(dtype):
    with jax.enable_x64(dtype == "float64"):
        yield


@functools.partial(jax.jit, static_argnums=0)
def evaluated(network, variables, x, wiring):
    return network.apply(variables["params"], x, wiring, statistics="running", batch_stats=variables["batch_stats"])


@functools.partial(jax.jit, static_argnums=0)
def trained(network, variables, x, wiring):
    return network.apply_and_update(variables["params"], variables["batch_stats"], x, wiring)


@functools.partial(jax.jit, static_argnums=0)
def mean_gradient(network, params, examples, wiring, weight):
    """Gradient of the mean over examples of ``weight`` cross-entropies plus ``1 - weight`` sums of logits."""

    x, y = examples

    def objective(params):
        logits = network.apply(params, x, wiring, statistics="example")
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()
        return weight * loss + (1 - weight) * logits.sum(1).mean()

    return jax.grad(objective)(params)


def prepared(recorded):
    code = jnp.asarray(recorded.genotype.code, jnp.int32)
    return completed(recorded.network, recorded.variables()), code


SEEDED = (*SMALL, *WIDE, "Z_zcnas_own_g00_allconv3", "Z_zcnas_own_g06_mix5ops", "_tenas_supernet_C3N1")


@pytest.mark.parametrize("name", SEEDED)
def test_the_seeds_give_the_weights_that_were_recorded(fixtures_folder, name):
    """The files hold a seed and a digest in place of weights drawn by PyTorch."""
    arrays = load(fixtures_folder, name)
    names = [str(line).rsplit(" ", 1)[0] for line in arrays["sd_shapes"]]
    assert hashlib.sha256(b"".join(arrays[f"sd/{key}"].tobytes() for key in names)).hexdigest() == str(arrays["sd_sha256"])
    assert all(arrays[f"sd/{key}"].dtype == np.float32 for key in names)


@pytest.mark.parametrize("name", SMALL + WIDE)
def test_the_tensors_come_in_the_registration_order_of_pytorch(fixtures_folder, name):
    recorded = recording(fixtures_folder, name)
    listed = tensors(recorded.network, recorded.genotype)
    order = [name for name in recorded.arrays["sd_order"] if not name.endswith("num_batches_tracked")]
    assert [tensor.name for tensor in listed] == order
    assert [tensor.name for tensor in listed if tensor.collection == "params"] == list(recorded.arrays["param_order"])


@pytest.mark.parametrize(("dtype", "name"), CASES)
def test_evaluation_mode_matches(fixtures_folder, dtype, name):
    with precision(dtype):
        recorded = recording(fixtures_folder, name)
        variables, code = prepared(recorded)
        logits = evaluated(recorded.network, variables, recorded.images(), code)
        assert logits.dtype == dtype
        assert relative_error(logits, recorded.arrays["logits_eval/f64"]) < tolerances().logits


@pytest.mark.parametrize(("dtype", "name"), CASES)
def test_training_mode_and_its_running_averages_match(fixtures_folder, dtype, name):
    with precision(dtype):
        recorded = recording(fixtures_folder, name)
        variables, code = prepared(recorded)
        logits, moved = trained(recorded.network, variables, recorded.images(), code)
        assert relative_error(logits, recorded.arrays["logits_train/f64"]) < tolerances().logits
        state = to_state_dict(recorded.network, recorded.genotype, {"params": variables["params"], "batch_stats": moved})
        expected = recorded.state_dict("sd_after1train/")
        expected = {key: value for key, value in expected.items() if key.endswith(("running_mean", "running_var"))}
        assert len(expected) == 2 * sum(key.endswith("running_mean") for key in state) > 0
        for key, value in expected.items():
            # The means of a normalised, ReLU-free path can be all rounding; variances give their scale.
            scale = np.sqrt(np.abs(expected[key.replace("running_mean", "running_var")]).max()) if key.endswith("mean") else value.max()
            assert np.abs(state[key] - value).max() < tolerances().running * scale, key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        pytest.param(*case.values, marks=pytest.mark.slow if case.values[0] == "float32" else case.marks)  # float32 adds a long compilation
        for case in CASES
    ],
)
def test_the_mean_gram_entry_is_the_squared_norm_of_the_mean_gradient(fixtures_folder, dtype, name):
    """Eq. (15) of KNAS: the mean over all pairs of gradient products, recorded pair by pair from batch-one passes."""
    with precision(dtype):
        recorded = recording(fixtures_folder, name)
        variables, code = prepared(recorded)
        tolerance = tolerances().flipped if (dtype, name) in FLIPPED else tolerances().kernel
        for key, weight in (("eq15_ce", 1.0), ("eq15_sum", 0.0)):
            gradient = mean_gradient(
                recorded.network, variables["params"], fifty_examples(fixtures_folder), code, jnp.asarray(weight, float)
            )
            squares = np.asarray(
                [
                    float(np.square(np.asarray(tensor.read({"params": gradient}), np.float64)).sum())
                    for tensor in tensors(recorded.network, recorded.genotype)
                    if tensor.collection == "params"
                ]
            )
            mean = float(recorded.arrays[f"{key}/mean"])
            assert squares.sum() == pytest.approx(mean, rel=tolerance)
            np.testing.assert_allclose(squares, recorded.arrays[f"{key}/per_param_mean"], rtol=tolerance, atol=tolerance * mean)
            # What a cell does not choose has no gradient.
            chosen = restrict(gradient, recorded.genotype)
            total = sum(float(np.square(np.asarray(leaf, np.float64)).sum()) for leaf in jax.tree.leaves(gradient))
            assert total == pytest.approx(sum(float(np.square(np.asarray(leaf, np.float64)).sum()) for leaf in jax.tree.leaves(chosen)))


@functools.partial(quick_jit, static_argnums=(0, 3))
def both_grams(network, params, examples, genotype):
    """Return the kernels of the loss and of the sum of logits, ``[50, 50]``."""

    def apply(params, x):
        return network.apply(params, x, genotype, statistics="example")

    x, y = examples
    return {
        "eq15_ce": gram(apply, params, x, objective="loss", labels=y).matrix,
        "eq15_sum": gram(apply, params, x, objective="logits").matrix,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_the_gram_matrix_of_fifty_examples_matches(fixtures_folder, float64, name):
    """What Eq. (15) averages, entry by entry: PyTorch recorded the gradients of batch-one passes."""
    recorded = recording(fixtures_folder, name)
    found = both_grams(recorded.network, recorded.variables()["params"], fifty_examples(fixtures_folder), recorded.genotype)
    for key, matrix in found.items():
        assert relative_error(matrix, recorded.arrays[f"{key}/gram_f64"]) < tolerances().kernel, key
        off_diagonal = (matrix.sum() - jnp.trace(matrix)) / (50 * 49)
        mean = float(recorded.arrays[f"{key}/mean"])
        assert float(off_diagonal) == pytest.approx(float(recorded.arrays[f"{key}/offdiag_mean"]), abs=tolerances().kernel * mean), key
        assert float(matrix.mean()) == pytest.approx(mean, rel=tolerances().kernel), key


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_genotype_wiring_matches(fixtures_folder, float64, name):
    recorded = recording(fixtures_folder, name)
    variables = recorded.variables()
    compute = jax.jit(lambda variables, x: evaluated.__wrapped__(recorded.network, variables, x, recorded.genotype))
    assert_close(compute(variables, recorded.images()), recorded.arrays["logits_eval/f64"], tolerances().logits)
