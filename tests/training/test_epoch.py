import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_stubs import CELL, PlainNetwork, coloured_dataset

from jknas.data.dataset import pixel_constants
from jknas.training import Recipe
from jknas.training.augmentation import draw_words, normalise, shuffled
from jknas.training.epoch import EpochSettings, EvaluationSettings, Rates, TrainState, evaluate_split, initial_state, train_epoch
from jknas.training.evaluation import resident

NETWORK, KEY, CODE = PlainNetwork(), jax.random.key(7), jnp.asarray(CELL.code)
RATES = Rates(jnp.float32(0.1), jnp.float32(0))


def sgd(params, gradient, buffer, rate, recipe):
    """PyTorch's step, spelled out."""
    gradient = gradient + recipe.weight_decay * params
    buffer = recipe.momentum * buffer + gradient
    return params - rate * (gradient + recipe.momentum * buffer if recipe.nesterov else buffer), buffer


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def objective(params, stats, x, labels):
    logits, moved = NETWORK.apply_and_update(params, stats, x, CELL)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), (logits, moved)


def slow_epoch(dataset, recipe, rate, *, ordered):
    """One epoch on the host: plain gradients batch by batch, and the step above; no augmentation."""
    params = jax.tree.map(np.asarray, NETWORK.init(KEY)["params"])
    params = {name: leaf.astype(np.float64) for name, leaf in params.items()}
    stats, buffers = NETWORK.init(KEY)["batch_stats"], {name: np.zeros_like(leaf) for name, leaf in params.items()}
    losses, correct, sizes = [], 0, []
    for start in range(0, len(ordered), recipe.batch_size):
        rows = ordered[start : start + recipe.batch_size]
        x, labels = normalise(dataset.x_train[rows], *pixel_constants(dataset)), dataset.y_train[rows]

        single = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in params.items()}
        (loss, (logits, stats)), gradient = objective(single, stats, x, labels)
        losses.append(float(loss))
        sizes.append(len(rows))
        correct += int((np.asarray(logits).argmax(-1) == labels).sum())
        for name, leaf in params.items():
            params[name], buffers[name] = sgd(leaf, np.asarray(gradient[name]), buffers[name], rate, recipe)
    return params, stats, np.average(losses, weights=sizes), correct, sizes


@pytest.mark.parametrize(
    ("train", "sizes", "nesterov"), [(22, [8, 8, 6], True), (22, [8, 8, 6], False), (16, [8, 8], True), (5, [5], True)]
)
def test_an_epoch_is_the_written_out_one(train, sizes, nesterov):
    dataset = coloured_dataset(train=train, crop_padding=0, horizontal_flip=False)
    recipe = Recipe(batch_size=8, weight_decay=0.05, nesterov=nesterov)
    settings = EpochSettings(NETWORK, CELL, recipe, 0, False)
    state = initial_state(KEY, settings=settings, scheme="pytorch")
    key = jax.random.key(3)
    run = jax.jit(lambda *arguments: train_epoch(*arguments, settings=settings))
    state, totals = run(state, resident(dataset, "train"), CODE, Rates(jnp.float32(0.3), jnp.float32(0)), key)
    ordered = np.asarray(shuffled(draw_words(key, train)))
    params, stats, loss, correct, found = slow_epoch(dataset, recipe, 0.3, ordered=ordered)
    assert found == sizes
    for name, leaf in params.items():
        np.testing.assert_allclose(state.params[name], leaf, rtol=2e-5, atol=2e-6, err_msg=name)
    for name, leaf in stats.items():
        np.testing.assert_allclose(state.batch_stats[name], leaf, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(totals.loss, loss, rtol=1e-5)
    assert int(totals.correct) == correct


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_equal_pytorch_s(nesterov):
    torch = pytest.importorskip("torch")
    recipe = Recipe(weight_decay=0.1, nesterov=nesterov)
    start, gradients = np.float32([1.0, -2.0, 0.5]), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    theirs = torch.nn.Parameter(torch.tensor(start))
    rule = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.1)
    ours, optimiser = jnp.asarray(start), recipe.optimiser(jnp.float32(0.1))
    buffer = optimiser.init(ours)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        rule.step()
        updates, buffer = optimiser.update(jnp.asarray(gradient), buffer, ours)
        ours = ours + updates
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 13, 256])
def test_evaluation_does_not_depend_on_the_batch(batch_size):
    dataset = coloured_dataset()
    variables = NETWORK.init(KEY)
    settings = EvaluationSettings(NETWORK, CELL, batch_size, "float32")
    run = jax.jit(lambda *arguments: evaluate_split(*arguments, settings=settings))
    totals = run(variables["params"], variables["batch_stats"], resident(dataset, "validation"), CODE)
    x = jnp.asarray(dataset.normalise(dataset.x_validation))
    logits = NETWORK.apply(variables["params"], x, CELL, statistics="running", batch_stats=variables["batch_stats"])
    losses = -jax.nn.log_softmax(logits)[jnp.arange(13), dataset.y_validation]
    np.testing.assert_allclose(totals.loss, losses.mean(), rtol=1e-5)
    assert int(totals.correct) == int((logits.argmax(-1) == dataset.y_validation).sum())


def test_non_finite_logits_are_not_hits():
    variables = NETWORK.init(KEY)
    broken = variables["params"] | {"bias": jnp.full(4, jnp.nan)}
    settings = EvaluationSettings(NETWORK, CELL, 8, "float32")
    totals = evaluate_split(broken, variables["batch_stats"], resident(coloured_dataset(), "validation"), CODE, settings=settings)
    assert np.isnan(totals.loss)
    assert int(totals.correct) == 0


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    seen = []

    class Watched(PlainNetwork):
        def apply_and_update(self, params, batch_stats, x, wiring):
            logits, moved = super().apply_and_update(params, batch_stats, x, wiring)
            seen.append((x.dtype.name, logits.dtype.name))
            return logits, moved

    results = {}
    for precision in ("float32", "bfloat16"):
        settings = EpochSettings(Watched(), CELL, Recipe(batch_size=8, precision=precision), 1, True)
        state: TrainState = initial_state(KEY, settings=settings, scheme="pytorch")
        run = jax.jit(lambda *arguments, settings=settings: train_epoch(*arguments, settings=settings))
        state, totals = run(state, resident(coloured_dataset(), "train"), CODE, RATES, KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}
        assert totals.loss.dtype == jnp.float32
        results[precision] = float(totals.loss)
    assert set(seen) == {("float32", "float32"), ("bfloat16", "bfloat16")}
    assert results["bfloat16"] != results["float32"]
    assert results["bfloat16"] == pytest.approx(results["float32"], rel=0.05)
