"""The gradient-based scores of the published network against values of the formula in :mod:`golden`, and against recorded ones.

Those of the formula were computed in float64 with the code of zero-cost-nas; the recorded ones are that code's own output.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from golden import golden_images, golden_labels, golden_variables
from random_variables import completed
from recordings import SMALL, WIDE, load, recording

from jknas.networks import CellNetwork
from jknas.networks.torch_state import from_state_dict
from jknas.proxies import Batch, get
from jknas.proxies.jacob_cov import correlation_score
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at

SYNFLOW = {
    "log_synflow": {"normalisation": "none", "scale": "log"},
    "synflow_released": {"normalisation": "reductions", "scale": "raw"},
    "synflow_bn": {"normalisation": "all", "scale": "raw"},
}
GOLDEN = {
    11: {
        "gradient_norm": 379.374011, "squared_gradient": 7441.42189, "snip": 1172.30873, "plain": -0.232475760, "grasp": 5551.44530,
        "jacob_cov": -8.03583197, "log_synflow": 102.481960, "synflow_released": 1.15298134e41, "synflow_bn": 34.6416989,
    },
    284: {
        "gradient_norm": 45.3178999, "squared_gradient": 191.484454, "snip": 149.745947, "plain": 0.110410576, "grasp": 28.9218442,
        "jacob_cov": -8.03387519, "log_synflow": 43.9035774, "synflow_released": 4.46927743e15, "synflow_bn": 41.3474883,
    },
    1462: {
        "gradient_norm": 708.090440, "squared_gradient": 17775.6588, "snip": 2148.07490, "plain": -0.0105498882, "grasp": 23876.3923,
        "jacob_cov": -8.03819945, "log_synflow": 143.293642, "synflow_released": 6.05505338e58, "synflow_bn": 28.3511183,
    },
}  # fmt: skip


def scores(network, params, wiring, batch, names, *, jit=quick_jit):
    """Compute some of the scores in one program; what takes long to run is worth compiling well."""
    key = jax.random.key(0)

    def compute(params, batch):
        found = {}
        if names & {"gradient_norm", "squared_gradient", "snip", "plain"}:
            found |= get("snip").measure(network, params, wiring, batch, key)._asdict()
        if "jacob_cov" in names:
            found["jacob_cov"] = get("jacob_cov").measure(network, params, wiring, batch, key)
        if "grasp" in names:
            found["grasp"] = get("grasp").measure(network, params, wiring, batch, key)
        for name in names & SYNFLOW.keys():
            found[name] = get("synflow").measure(network, params, wiring, batch, key, **SYNFLOW[name])
        return found

    found = jax.device_get(jit(compute)(params, batch))
    return {name: correlation_score(found[name])[0] if name == "jacob_cov" else float(found[name]) for name in names}


FAST = {"jacob_cov", "log_synflow"}


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (284, FAST),
        pytest.param(284, GOLDEN[284].keys() - FAST, marks=pytest.mark.slow),
        pytest.param(11, GOLDEN[11].keys(), marks=pytest.mark.slow),
        pytest.param(1462, GOLDEN[1462].keys(), marks=pytest.mark.slow),
    ],
    ids=["284", "284 all others", "11", "1462"],
)
def test_the_published_network_has_the_documented_scores(float64, index, names):
    """16 channels, 5 cells a stage, 8 images, training mode."""
    network, genotype = CellNetwork(), genotype_at(index)
    params = golden_variables(network, genotype)["params"]
    batch, jit = Batch(golden_images(8, 32), golden_labels(8)), quick_jit if names == FAST else jax.jit
    found = scores(network, params, genotype, batch, set(names), jit=jit)
    for name in names:
        assert found[name] == pytest.approx(GOLDEN[index][name], rel=1e-6), name


RECORDED = {
    "gradient_norm": "grad_norm_f64",
    "snip": "snip_f64",
    "grasp": "grasp_f64",
    "jacob_cov": "jacob_cov_f64",
    "log_synflow": "synflow_f64",
}


def as_recorded(name, value):
    if name != "log_synflow":
        return value
    return -math.inf if value == 0 else math.log(value)


def compare(found, arrays, where):
    for name, key in RECORDED.items():
        expected = as_recorded(name, float(arrays[f"zc/{key}"]))
        assert found[name] == pytest.approx(expected, rel=1e-6, abs=1e-12, nan_ok=True), f"{where}: {name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_scores_recorded_from_the_released_code(fixtures_folder, float64, name):
    """Four channels with random scales and shifts, sixteen at initialisation; jacob_cov of a dead cell is NaN and synflow nothing."""
    recorded = recording(fixtures_folder, name)
    batch = Batch(recorded.images(), jnp.asarray(recorded.arrays["y"], jnp.int32))
    found = scores(recorded.network, recorded.variables()["params"], recorded.genotype, batch, set(RECORDED))
    compare(found, recorded.arrays, name)
    if name.endswith(("g04_allnone", "g05_cutout")):
        assert math.isnan(found["jacob_cov"])
        assert found["log_synflow"] == -math.inf


@pytest.mark.slow
def test_a_code_has_the_scores_recorded_from_the_released_code(fixtures_folder, float64):
    """One program for all cells; the weights of the operations that a cell does not choose are random."""
    network, key = recording(fixtures_folder, SMALL[0]).network, jax.random.key(0)

    @quick_jit
    def compute(params, code, batch):
        found = get("snip").measure(network, params, code, batch, key)._asdict()
        found["jacob_cov"] = get("jacob_cov").measure(network, params, code, batch, key)
        found["grasp"] = get("grasp").measure(network, params, code, batch, key)
        found["log_synflow"] = get("synflow").measure(network, params, code, batch, key)
        return found

    for name in SMALL:
        recorded = recording(fixtures_folder, name)
        variables = completed(network, recorded.variables())
        batch = Batch(recorded.images(), jnp.asarray(recorded.arrays["y"], jnp.int32))
        found = jax.device_get(compute(variables["params"], jnp.asarray(recorded.genotype.code), batch))
        found["jacob_cov"] = correlation_score(found["jacob_cov"])[0]
        compare(found, recorded.arrays, name)


def official_names(state, genotype, cells):
    """Return the weights of zero-cost-nas's own network as those of the published one: its biases and running averages left out."""
    order = ("none", "avg_pool_3x3", "nor_conv_3x3", "nor_conv_1x1", "skip_connect")
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "stem":
            found[".".join(("stem", *parts[2:]))] = value
        elif parts[0].startswith("stack_cell"):
            stage, cell, option, what = int(parts[0][-1]), int(parts[1]), int(parts[3]), parts[-1]
            edge, operation = divmod(option, len(order))
            if order[operation] != genotype.operations[edge] or what != "weight":
                continue
            prefix = f"cells.{(stage - 1) * (cells + 1) + cell}.layers.{edge}.op"
            channels = len(value)
            found[f"{prefix}.1.weight"] = value
            found |= {f"{prefix}.2.weight": np.ones(channels), f"{prefix}.2.bias": np.zeros(channels)}
            found |= {f"{prefix}.2.running_mean": np.zeros(channels), f"{prefix}.2.running_var": np.ones(channels)}
        elif parts[0].startswith("reduction"):
            block = int(parts[0][-1]) * (cells + 1) - 1
            rest = [part if part != "residual" else "downsample" for part in parts[1:]]
            found[".".join(("cells", str(block), *rest))] = value
        else:
            found[".".join(parts[1:])] = value
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Z_zcnas_own_g00_allconv3", "Z_zcnas_own_g06_mix5ops"])
def test_the_network_of_zero_cost_nas_has_the_scores_of_the_published_one(fixtures_folder, float64, name):
    """Biases in front of a training-mode normalisation change nothing; synflow, where they flow, is another number.

    GraSP is compared where it was recorded in float64: its float32 recording here is 2e-3 off.
    """
    arrays = load(fixtures_folder, name)
    genotype = CellGenotype.parse(str(arrays["genotype"]))
    state = {key.removeprefix("sd/"): value for key, value in arrays.items() if key.startswith("sd/")}
    cells = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("stack_cell1"))
    network = CellNetwork(len(state["stem.net.0.weight"]), cells)
    variables = from_state_dict(network, genotype, official_names(state, genotype, cells))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), variables["params"])
    batch = Batch(jnp.asarray(arrays["x_nhwc"], float), jnp.asarray(arrays["y"], jnp.int32))
    logits = jax.jit(lambda params: network.apply(params, batch.x, genotype, statistics="batch"))(params)
    np.testing.assert_allclose(logits, arrays["logits_train"], atol=1e-4 * np.abs(arrays["logits_train"]).max())
    names = {"gradient_norm": "grad_norm", "snip": "snip", "jacob_cov": "jacob_cov"}
    found = scores(network, params, genotype, batch, set(names))
    for ours, theirs in names.items():
        # Recorded in float32, where a unit near zero may switch.
        assert found[ours] == pytest.approx(float(arrays[f"zc/{theirs}"]), rel=1e-3), ours
