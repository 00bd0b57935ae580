"""The weight-sharing searches do in two iterations what the public scripts did, in float64."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharing_recordings as recorded

from jknas import search, spaces
from jknas.search.weight_sharing import controller, enas, recipe, supernet
from jknas.search.weight_sharing.gdas import hard_draw

RTOL = 1e-6
pytestmark = pytest.mark.usefixtures("float64")


def close(found, wanted, *, atol=1e-12):
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=RTOL, atol=atol)


def check_tensors(found, stored, prefix, order, kind):
    """Compare sums, sums of squares, and the tensors that are stored whole; biases in cells have a gradient of rounding alone."""
    sums, squares = stored[f"{prefix}/{kind}_sum"], stored[f"{prefix}/{kind}_sumsq"]
    for name, total, square in zip(order, sums, squares, strict=True):
        unused = np.isnan(total)
        if name in found and not (unused and kind == "w_g"):  # an operation that is not stepped was given nothing
            close(found[name].sum(), 0 if unused else total, atol=1e-9)
            close(np.square(found[name]).sum(), 0 if unused else square)
        else:
            assert unused or name.endswith("op.1.bias")
    whole = [key for key in stored if key.startswith(f"{prefix}/{kind}/") and not key.endswith("op.1.bias")]
    for key in whole:
        if kind != "w_g" or not np.isnan(stored[key]).any():
            close(found[key.removeprefix(f"{prefix}/{kind}/")], np.nan_to_num(stored[key]))


def compare(shared, stored, prefix, before, *, nats, decay):
    """Compare a state after an iteration, and the gradient that SGD was given in it."""
    last = not nats
    order = [str(name) for name in (recorded.load("nats")["param_order_generic"] if nats else recorded.load("common")["param_order"])]
    order = [name.replace("_stem", "stem").replace("_cells", "cells").replace("_lastact", "lastact").lstrip("_") for name in order]
    now, old = recorded.view(shared, last=last), recorded.view(before, last=last)
    given = {name: now.mom[name] - 0.9 * old.mom[name] - decay * old.w[name] for name in now.w}
    check_tensors(given, stored, prefix, order, "w_g")
    check_tensors(now.w, stored, prefix, order, "w")
    if f"{prefix}/mom_sum" in stored:
        check_tensors(now.mom, stored, prefix, order, "mom")
    if isinstance(shared.architecture, jax.Array):
        close(shared.architecture, stored[f"{prefix}/alphas"])
        close(shared.left, stored[f"{prefix}/alpha_g"], atol=1e-10)
        adam = shared.moments[1][0]
        close(adam.mu, stored[f"{prefix}/adam_m"], atol=1e-10)
        close(adam.nu, stored[f"{prefix}/adam_v"], atol=1e-14)
    for name, value in now.bn.items():
        if f"{prefix}/bn/{name}" in stored:
            close(value, stored[f"{prefix}/bn/{name}"])


def check_returned(totals, returned):
    """Compare losses and accuracies of an iteration of eight images; five of them the script's top five would need more."""
    for measured, (loss, top1, *_) in zip((totals.weights, totals.architecture), np.reshape(returned, (-1, 3)), strict=False):
        close(measured.loss, loss)
        close(100 * float(measured.correct) / 8, top1)


def two_iterations(method, stored, prefix, draws, *, nats=False, temperature=10.0):
    """Run and compare two iterations; return the last state."""
    net = recorded.net(method.made, per_cell=method.draws_per_cell)
    first = recorded.alphas() if method.name in {"darts-v1", "darts-v2", "gdas", "setn"} else method.initial(net, jax.random.key(0))
    shared = recorded.shared(net, first)
    iterate = jax.jit(functools.partial(method.iterate, net))
    for step in (1, 2):
        rates = recorded.rates(stored[f"{prefix}/step{step}/lr"], temperature)
        before = shared
        shared, totals = iterate(shared, recorded.pair(step), rates, draws[step - 1])
        check_returned(totals, stored[f"{prefix}/step{step}/returned"])
        compare(shared, stored, f"{prefix}/step{step}", before, nats=nats, decay=net.recipe.weight_decay)
    return net, shared


def made(name, recipe_name="published", **changes):
    kind = search.get(name)
    return kind(own_recipe=dataclasses.replace(kind.recipes[recipe_name], **changes))


slow = pytest.mark.slow
EMPTY = ((), ())


@pytest.mark.parametrize(
    ("name", "prefix", "changes"),
    [
        ("darts-v1", "v1", {}),
        ("darts-v1", "v1clip1", {"clip_norm": 1.0}),
        ("darts-v2", "v2", {}),
    ],
)
@pytest.mark.slow
def test_darts(name, prefix, changes):
    two_iterations(made(name, **changes), recorded.load("darts"), prefix, EMPTY)


def gumbels():
    noise = jnp.asarray(recorded.load("gdas")["gumbel"])
    return noise[:2], noise[2:]


@pytest.mark.parametrize("unsampled", ["drift", "skip"])
@slow
def test_gdas(unsampled):
    prefix = {"drift": "run_zero", "skip": "run_none"}[unsampled]
    two_iterations(made("gdas", unsampled=unsampled), recorded.load("gdas"), prefix, gumbels())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unsampled"),
    [
        ("rsps", "drift"),
        *(pytest.param(*one, marks=slow) for one in (("rsps", "skip"), *itertools.product(("setn", "enas"), ("drift", "skip")))),
    ],
)
def test_single_paths(name, unsampled):
    stored = recorded.load("single_path")
    draws = tuple(recorded.code_of(stored[f"arch/{cell}"]) for cell in ("s1", "s2"))
    if name == "rsps":
        draws = tuple((code, None) for code in draws)
    prefix = f"{ {'rsps': 'random'}.get(name, name) }_run_{ {'drift': 'zero', 'skip': 'none'}[unsampled] }"
    net, shared = two_iterations(made(name, unsampled=unsampled), stored, prefix, draws)
    if name != "enas" and unsampled == "skip":
        check_evaluations(net, shared, stored, f"{prefix}/after2_eval_")


def check_evaluations(net, shared, stored, prefix):
    """Compare cells with the trained weights in both modes, and which of them is the best: the first of equal ones."""
    x, y = recorded.images("valid1")
    right = []
    for cell in ("s1", "s2", "allskip"):
        code = recorded.code_of(recorded.load("single_path")[f"arch/{cell}"])
        logits = net.network.apply(shared.params, x, code, statistics="running", batch_stats=shared.batch_stats)
        close(logits, stored[f"{prefix}{cell}/eval_logits"])
        close(supernet.cross_entropy(logits, y)[0], stored[f"{prefix}{cell}/eval_loss"])
        close(net.network.apply_and_update(shared.params, shared.batch_stats, x, code)[0], stored[f"{prefix}{cell}/train_logits"])
        right.append(100 * int(supernet.cross_entropy(logits, y)[1]) / len(y))
        close(right[-1], stored[f"{prefix}{cell}/eval_acc"])
    best = prefix.replace("after2_eval_", "find_best_")
    if f"{best}arch" in stored:
        assert (
            recorded.code_of(stored[f"{best}arch"]).tolist()
            == [recorded.code_of(recorded.load("single_path")[f"arch/{cell}"]).tolist() for cell in ("s1", "s2", "allskip")][
                int(np.argmax(right))
            ]
        )
        close(max(right), stored[f"{best}acc"])


@pytest.mark.parametrize("unsampled", ["drift", "skip"])
@pytest.mark.parametrize("name", ["darts-v1", "darts-v2", "gdas", "setn", "rsps"])
@slow
def test_nats_bench(name, unsampled):
    stored = recorded.load("nats")
    prefix = f"{ {'rsps': 'random'}.get(name, name) }_{ {'drift': 'zero', 'skip': 'none'}[unsampled] }"
    if f"{prefix}/step1/w_sum" not in stored:
        pytest.skip("DARTS runs every operation, so that only one treatment of the others was recorded")
    ops = jnp.asarray(stored["random_urs/final_ops"], jnp.int32)[:, :, None]
    codes = tuple(recorded.code_of(recorded.load("single_path")[f"arch/{cell}"]) for cell in ("s1", "s2"))
    draws = {"gdas": gumbels(), "setn": codes, "rsps": ((ops[0], ops[1]), (ops[2], ops[3]))}.get(name, EMPTY)
    net, shared = two_iterations(made(name, "nats", unsampled=unsampled), stored, prefix, draws, nats=True)
    if f"{prefix}/after2_eval_s1/eval_logits" in stored:
        check_evaluations(net, shared, stored, f"{prefix}/after2_eval_")


@pytest.mark.parametrize("temperature", ["10", "1", "0.1"])
@pytest.mark.parametrize("draw", [0, 1])
def test_hard_draws(draw, temperature):
    stored, prefix = recorded.load("gdas"), f"fwd_draw{draw}_tau{temperature}"
    found = hard_draw(recorded.alphas(), jnp.asarray(stored["gumbel"][draw]), float(temperature))
    np.testing.assert_array_equal(found.code, stored[f"{prefix}/index"])
    close(found.weights, stored[f"{prefix}/hardwts"])


@pytest.mark.slow
def test_the_gradient_of_a_hard_draw():
    """One compilation for both draws and all temperatures."""
    stored, net = recorded.load("gdas"), recorded.net(recipe.SharingRecipe())
    shared = recorded.shared(net, recorded.alphas())
    x, y = recorded.images("train1")

    @jax.jit
    @jax.value_and_grad
    def loss(alphas, noise, temperature):
        return net.forward(shared.params, shared.batch_stats, hard_draw(alphas, noise, temperature), x, y).loss

    for draw in (0, 1):
        for temperature in ("10", "1", "0.1"):
            value, gradient = loss(recorded.alphas(), jnp.asarray(stored["gumbel"][draw]), jnp.asarray(float(temperature)))
            close(value, stored[f"fwd_draw{draw}_tau{temperature}/loss"])
            close(gradient, stored[f"fwd_draw{draw}_tau{temperature}/alpha_g"])


@pytest.mark.parametrize("cell", [*(pytest.param(cell, marks=pytest.mark.slow) for cell in ("s1", "s2")), "allskip", "allnone"])
def test_single_path_evaluation(cell):
    stored, net = recorded.load("single_path"), recorded.net(recipe.SharingRecipe())
    shared = recorded.shared(net, ())
    check = functools.partial(net.network.apply, shared.params, recorded.images("valid1")[0], recorded.code_of(stored[f"arch/{cell}"]))
    close(check(statistics="running", batch_stats=shared.batch_stats), stored[f"evalnet_{cell}/eval_logits"])


def test_schedules():
    stored = recorded.load("schedules")
    for name, config in {"darts-v1": "DARTS", "gdas": "GDAS", "setn": "SETN", "rsps": "RANDOM", "enas": "ENAS"}.items():
        published = search.get(name).recipes["published"]
        close([published.learning_rate_at(epoch) for epoch in range(published.epochs)], stored[f"lr/{config}"])
        assert -(-25000 // published.batch_size) == stored[f"iters_cifar10/{config}"]
    nats = search.get("gdas").recipes["nats"]
    close([nats.learning_rate_at(epoch) for epoch in range(200)], stored["lr/weight-sharing_E200"])
    close([nats.temperature_at(epoch) for epoch in range(200)], stored["tau_200"])
    close([search.get("gdas").recipes["published"].temperature_at(epoch) for epoch in range(250)], stored["tau_250"])


def test_derived_cells():
    stored, space = recorded.load("schedules"), spaces.get("nasbench201")
    for table, text in zip(stored["alpha_tables"], stored["genotypes"], strict=True):
        assert str(supernet.derive(space, table)) == str(text)
    assert str(supernet.derive(space, np.asarray(jax.nn.softmax(recorded.alphas())))) == str(recorded.load("darts")["genotype"])


def test_the_most_probable_cells():
    stored = recorded.load("single_path")
    choices = recorded.net(recipe.SharingRecipe()).choices()
    codes, sums = supernet.most_probable(choices, np.asarray(jax.nn.log_softmax(recorded.alphas())), 20)
    assert codes.tolist() == [recorded.code_of(text).tolist() for text in stored["setn_top20"]]
    close(sums, stored["setn_top20_logprob"])


def torch_controller():
    stored = {name.removeprefix("ctl/"): value for name, value in recorded.load("enas_controller").items() if name.startswith("ctl/")}
    float_ = functools.partial(jnp.asarray, dtype=float)
    layers = {
        ours: {
            name: float_(stored[f"w_lstm.{torch}_l{number}"])
            for name, torch in (("input", "weight_ih"), ("hidden", "weight_hh"), ("input_bias", "bias_ih"), ("hidden_bias", "bias_hh"))
        }
        for number, ours in enumerate(("lower", "upper"))
    }
    return {
        "start": float_(stored["input_vars"][0, 0]),
        **layers,
        "embedding": float_(stored["w_embd.weight"]),
        "kernel": float_(stored["w_pred.weight"]),
        "bias": float_(stored["w_pred.bias"]),
    }


def in_order(controller):
    """Return the tensors of a controller in PyTorch's order."""
    layers = [controller[layer][name] for layer in ("lower", "upper") for name in ("input", "hidden", "input_bias", "hidden_bias")]
    return [controller["start"], *layers, controller["embedding"], controller["kernel"], controller["bias"]]


def test_the_controller():
    stored = recorded.load("enas_controller")
    said = jax.vmap(controller.follow, (None, 0))(torch_controller(), jnp.asarray(stored["actions"], jnp.int32))
    close(said.log_probability, stored["init_logp"])
    close(said.entropy, stored["init_entropy"])


@pytest.mark.parametrize("case", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("later", "first", "entropy")), "nats"])
def test_controller_steps(case):
    stored, nats = recorded.load("enas_controller"), recorded.load("nats")
    method = made("enas", "nats") if case == "nats" else made("enas", entropy_weight=0.05 if case == "entropy" else 1e-4)
    net, samples = recorded.net(method.made), 20 if case == "nats" else 4
    source, prefix = (nats, "enas_ctl") if case == "nats" else (stored, case)
    actions, accuracies = (
        (nats["enas_ctl/actions"], nats["enas_ctl/acc_percent"]) if case == "nats" else (stored["actions"], stored["acc_percent"])
    )
    before = jnp.asarray(-1.0 if case == "first" else 0.3)
    shared = recorded.shared(net, torch_controller())
    seen = []
    for step in (1, 2):
        part = slice(samples * (step - 1), samples * step)
        codes, accuracy = jnp.asarray(actions[part], jnp.int32), jnp.asarray(accuracies[part] / 100)
        shared, baselines = jax.jit(functools.partial(enas.controller_step, net))(shared, codes, accuracy, before)
        seen.extend(np.asarray(baselines).tolist())
        close([value.sum() for value in in_order(shared.architecture)], source[f"{prefix}/step{step}/p_sum"])
        close([jnp.square(value).sum() for value in in_order(shared.architecture)], source[f"{prefix}/step{step}/p_sumsq"])
    if case != "nats":
        close(seen, stored[f"{case}/baseline"])
        close(np.mean(seen), stored[f"{case}/returned"][2])
