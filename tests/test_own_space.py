"""A space defined outside the package is scored, correlated, searched, trained and shown like those of the package."""

import dataclasses
import functools
import json
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import own_space
import pytest
import search_stubs as stubs

from jknas import proxies, spaces
from jknas.cli import run
from jknas.errors import CheckpointError, ProxyError, SpaceError
from jknas.networks import families
from jknas.scoring.scorer import make_scorer
from jknas.training import Recipe, train

REFERENCE = "own_space:SPACE"
SMALL = (
    "--space",
    REFERENCE,
    "--data",
    "digits",
    "--resolution",
    "8",
    "--limit",
    "200,50",
    "--channels",
    "4",
    "--cells",
    "1",
)
BATCH = ("--batch", "8")
TRAINING = ("--epochs", "1", "--seed", "0", "--json")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Leave the registry of spaces as it was."""
    monkeypatch.setattr(spaces._SPACES, "things", dict(spaces._SPACES.things))


@pytest.fixture
def tiny_digits():
    return stubs.tiny_digits()


def called(capsys, *arguments):
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_is_found_by_reference_and_then_by_name():
    space = spaces.get(REFERENCE)
    assert space is own_space.SPACE
    assert spaces.get("chain") is space
    assert space.size == 27
    assert len(set(space.enumerate())) == 27
    assert space.parse("|conv3|skip|conv1|").code == (2, 0, 1)
    assert families.macro_of(space) is own_space.ChainNetwork


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module:SPACE", "cannot be imported (No module named 'no_such_module')"),
        ("own_space:SPEICES", "the module 'own_space' has no 'SPEICES'"),
        ("own_space:parameters", "'own_space:parameters' is a function; expected a jknas.spaces.Space"),
        ("own_space:", "does not name a search space: expected module:NAME"),
    ],
)
def test_a_reference_that_leads_nowhere(capsys, reference, says):
    code, out, err = called(capsys, "score", "--space", reference, "--proxy", "params", "--sample", "1")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_record_that_lacks_a_field(capsys, tmp_path, monkeypatch):
    (tmp_path / "half_a_space.py").write_text(
        "from jknas.spaces import edge_space\n"
        "SPACE = edge_space(name='half', operations=('a', 'b'), num_edges=1, parameters=lambda genotype, **size: 0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = called(capsys, "score", "--space", "half_a_space:SPACE", "--proxy", "params", "--sample", "1")
    assert (code, out) == (2, "")
    assert "'half_a_space:SPACE' cannot be imported (TypeError: " in err
    assert "'macs'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["score", "correlate"])
def test_a_genotype_of_another_space(capsys, tmp_path, command):
    text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    own = ("--out", tmp_path / "out", "--accuracies", tmp_path / "a.csv") if command == "correlate" else ()
    (tmp_path / "a.csv").write_text("genotype,accuracy\n|skip|skip|skip|,0.5\n|conv1|skip|skip|,0.6\n")
    code, _, err = called(capsys, command, "--space", REFERENCE, "--proxy", "params", "--arch", text, *own)
    assert code == 2
    assert "cannot read the genotype" in err
    assert "as the space 'chain' writes it" in err


def test_a_name_that_is_taken():
    with pytest.raises(SpaceError, match="a search space called 'darts' is registered already"):
        spaces.register(spaces.edge_space(name="darts", operations=("a", "b"), num_edges=1, parameters=len, macs=len))


OBSERVED = ("apd", "az_expressivity", "az_progressivity", "az_trainability", "fisher", "meco", "naswot", "near", "swap", "vkdnw", "zen")
MISSING = {
    "observable": OBSERVED,
    "normalisation_free": ("synflow",),
    "torch_order": ("mgm_released", "mgm_released_aliased"),
    "tenas": ("tenas_condition",),
    "thin": ("linear_regions",),
}


def test_every_proxy_scores_it_or_says_what_is_missing(tiny_digits):
    refused = {name: capability for capability, names in MISSING.items() for name in names}
    for name in proxies.names():
        proxy = proxies.get(name)
        if name in refused:
            method = families.CAPABILITIES[refused[name]][0]
            with pytest.raises(ProxyError, match=rf"needs the capability '{refused[name]}', which ChainNetwork lacks: give .* {method}\("):
                make_scorer(proxy, tiny_digits, own_space.SPACE, channels=2, cells=1, batch_size=8)
        else:
            make_scorer(proxy, tiny_digits, own_space.SPACE, channels=2, cells=1, batch_size=8)


class Dropping(nn.Module):
    chain: nn.Module

    @nn.compact
    def __call__(self, x, code, train):
        return nn.Dropout(0.5, deterministic=not train)(self.chain(x, code, train))


class DroppingNetwork(own_space.ChainNetwork):
    def definition(self):
        return Dropping(super().definition())


def test_a_module_with_dropout_is_scored_and_trained(tiny_digits):
    network, genotype = DroppingNetwork(2, 1), own_space.SPACE.from_code([2, 0, 1])
    variables = network.init(jax.random.key(0))
    x = jnp.asarray(tiny_digits.normalise(tiny_digits.x_train[:6]))
    for statistics in ("batch", "example"):
        score = functools.partial(network.apply, variables["params"], x, genotype, statistics=statistics)
        np.testing.assert_array_equal(score(), score())
    step = functools.partial(network.train_apply, variables["params"], variables["batch_stats"], x, genotype)
    first, again, other = (step(key=jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 0 < (np.asarray(first) == 0).mean() < 1
    space = dataclasses.replace(own_space.SPACE, name="dropping", networks=DroppingNetwork)
    trained = train(families.network_for(space, tiny_digits, channels=2, cells=1), genotype, tiny_digits, recipe=Recipe(epochs=1), seed=0)
    assert trained.status == "ok"


def test_a_module_computes_in_half_precision_when_it_is_trained_so():
    network, genotype = own_space.ChainNetwork(2, 1), own_space.SPACE.from_code([2, 0, 1])
    variables, x = network.init(jax.random.key(0)), jnp.ones((2, 8, 8, 3))
    step = functools.partial(network.train_apply, wiring=genotype)
    for dtype in (jnp.bfloat16, jnp.float32):
        with jax.numpy_dtype_promotion("standard"):  # Flax's normalisation takes means in float32
            lowered = jax.jit(step).lower(variables["params"], variables["batch_stats"], x.astype(dtype))
        text, (_, _, averages) = lowered.as_text(), lowered.out_info
        products = [line for line in text.splitlines() if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]
        assert len(products) >= 5
        assert all(line.count("xbf16>") == (3 if dtype == jnp.bfloat16 else 0) for line in products)
        assert {leaf.dtype for leaf in jax.tree.leaves(averages)} == {jnp.dtype(jnp.float32)}


class SecondChain(own_space.ChainNetwork):
    own_facts: ClassVar[dict[str, int]] = {"version": 2}


def test_a_version_of_the_network_keeps_old_scores_and_checkpoints_apart(tiny_digits, tmp_path):
    spaces_of = [dataclasses.replace(own_space.SPACE, networks=networks) for networks in (own_space.ChainNetwork, SecondChain)]
    genotype, keys = own_space.SPACE.from_code([2, 0, 1]), []
    for space in spaces_of:
        scorer = make_scorer(proxies.get("mgm"), tiny_digits, space, channels=2, cells=1, batch_size=4)
        keys.append(scorer.key(genotype))
    assert keys[0] != keys[1]
    assert json.loads(keys[1].network)["version"] == 2
    first, second = (families.network_for(space, tiny_digits, channels=2, cells=1) for space in spaces_of)
    options = {"recipe": Recipe(epochs=1), "seed": 0, "checkpoint": tmp_path}
    train(first, genotype, tiny_digits, **options)
    with pytest.raises(CheckpointError, match=r"own_facts is None there and .*version.*2"):
        train(second, genotype, tiny_digits, resume=True, **options)


def test_scores_are_kept_and_read_again(capsys, tmp_path):
    arguments = ("score", *SMALL, *BATCH, "--proxy", "mgm,params", "--sample", "3", "--seed", "0", "--db", tmp_path / "s.sqlite", "--json")
    scored = []
    for _ in range(2):
        code, out, err = called(capsys, *arguments)
        assert code == 0, err
        scored.append([json.loads(line) for line in out.splitlines()])
    first, again = ([record.pop("fresh") for record in records] for records in scored)
    assert all(first)
    assert not any(again)
    assert scored[0] == scored[1]
    assert {record["space"] for record in scored[0]} == {"chain"}


def test_correlate_with_its_own_table(capsys, tmp_path):
    table = tmp_path / "accuracies.csv"
    rng = np.random.default_rng(0)
    rows = [f"{genotype},{0.5 + 0.1 * genotype.code.count(2) + 0.01 * rng.random():.4f}" for genotype in own_space.SPACE.enumerate()]
    table.write_text("\n".join(["genotype,accuracy", *rows]) + "\n")
    own = ("--accuracies", table, "--target", "accuracy", "--sample", "12", "--seed", "0")
    code, _, err = called(capsys, "correlate", *SMALL, *BATCH, *own, "--proxy", "mgm,params", "--out", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out").is_dir()
    code, _, err = called(capsys, "correlate", *SMALL, *own, "--target", "speed", "--proxy", "params", "--out", tmp_path / "out2")
    assert code == 2
    assert "speed" in err
    assert "accuracy" in err


@pytest.mark.parametrize(
    "method",
    [
        ("knas", "--samples", "4", "--topk", "1", *BATCH),
        ("best_by_proxy", "--samples", "4", *BATCH),
        ("evolution", "--population", "2", "--tournament", "2", "--max-evaluations", "3"),
        ("random", "--topk", "2"),
    ],
    ids=lambda method: method[0],
)
def test_search_and_resume(capsys, tmp_path, method):
    arguments = ("search", *SMALL, *TRAINING, "--out", tmp_path, "--train-batch", "50", "--method", *method)
    code, _, err = called(capsys, *arguments, "--max-steps", "2")
    assert code == 0, err
    code, out, err = called(capsys, *arguments, "--resume")
    assert code == 0, err
    result = json.loads(out)
    assert result["complete"] is True
    assert own_space.SPACE.parse(result["genotype"]).code
    assert json.loads((tmp_path / "result.json").read_text())["genotype"] == result["genotype"]


def test_show(capsys):
    code, out, err = called(capsys, "show", "|conv3|skip|conv1|", "--space", REFERENCE, "--channels", "4", "--cells", "1", "--json")
    assert code == 0, err
    genotype = own_space.SPACE.parse("|conv3|skip|conv1|")
    assert json.loads(out)["parameters"] == own_space.parameters(genotype, channels=4, cells=1)
    code, _, err = called(capsys, "show", "|conv3|skip|conv9|", "--space", REFERENCE)
    assert code == 2
    assert "Unknown operation 'conv9'; expected one of skip, conv1, conv3. Did you mean 'conv3'?" in err


def test_the_cost_is_that_of_the_network(tiny_digits):
    network = families.network_for(own_space.SPACE, tiny_digits, channels=4, cells=1)
    drawn = jax.eval_shape(lambda: network.init(jax.random.key(0)))["params"]
    everything = sum(leaf.size for leaf in jax.tree.leaves(drawn))
    not_chosen = 3 * 4 * 4  # the 1x1 candidates of three edges
    assert own_space.parameters(own_space.SPACE.parse("|conv3|conv3|conv3|"), channels=4, cells=1) == everything - not_chosen
