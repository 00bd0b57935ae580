"""Clipping, cutout, auxiliary loss, drop path and label smoothing, against their definitions and on tiny DARTS networks."""

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from training_stubs import CELL, PlainNetwork, coloured_dataset, slow_cutout

from jknas import data
from jknas.data.dataset import pixel_constants
from jknas.errors import TrainingError
from jknas.networks.darts import DartsNetwork, TenasDartsNetwork
from jknas.networks.darts.pooling import average_pool
from jknas.networks.nasbench201.network import CellNetwork
from jknas.spaces.darts.genotype import DartsGenotype
from jknas.training import Recipe, epoch, evaluate, preset, train, with_auxiliary
from jknas.training.augmentation import draw_centres, draw_words, normalise, shuffled
from jknas.training.epoch import EpochSettings, Pixels, Rates, TrainState, train_epoch
from jknas.xla import programs

KEY = jax.random.key(3)


@dataclass(frozen=True)
class SidedNetwork(PlainNetwork):
    """Two linear layers on the mean pixel colours, one of them auxiliary; drop path drops all colours of an image."""

    auxiliary: bool = True
    has_drop_path = True

    def train_apply(self, params, batch_stats, x, wiring, *, key, drop_path):
        features = x.mean((1, 2))
        kept = jax.random.bernoulli(key, 1 - drop_path, (len(x), 1))
        dropped = jnp.where(kept, features / (1 - drop_path), 0)
        return dropped @ params["kernel"] + params["bias"][None], features @ params["side"], batch_stats

    def check_auxiliary(self, height, width):
        pass


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def slow_epoch(params, dataset, recipe, rate, drop_path):
    """One epoch with every gradient written out; only the random numbers are those of the epoch under test."""
    params, buffers = dict(params), {name: np.zeros_like(leaf) for name, leaf in params.items()}
    order = np.asarray(shuffled(draw_words(KEY, len(dataset.y_train))))
    cutout_key, drop_key = jax.random.split(jax.random.fold_in(KEY, 2**32 - 1))
    centres = np.asarray(draw_centres(cutout_key, dataset.x_train))
    losses, norms = [], []
    for number, start in enumerate(range(0, len(order), recipe.batch_size)):
        rows = order[start : start + recipe.batch_size]
        x = np.asarray(normalise(dataset.x_train[rows], *map(np.float64, pixel_constants(dataset))))
        features = slow_cutout(x, centres[rows], recipe.cutout).mean((1, 2))
        kept = np.asarray(jax.random.bernoulli(jax.random.fold_in(drop_key, number), 1 - drop_path, (len(rows), 1)))
        dropped = kept * features / (1 - drop_path)
        hard = np.eye(4)[dataset.y_train[rows]]
        soft = (1 - recipe.label_smoothing) * hard + recipe.label_smoothing / 4
        main, side = softmax(dropped @ params["kernel"] + params["bias"]), softmax(features @ params["side"])
        losses += list(-np.log((main * hard).sum(1)))
        error, side_error = (main - soft) / len(rows), recipe.auxiliary_weight * (side - soft) / len(rows)
        gradient = {"kernel": dropped.T @ error, "bias": error.sum(0), "side": features.T @ side_error}
        norms.append(np.sqrt(sum((leaf**2).sum() for leaf in gradient.values())))
        for name in params:
            step = gradient[name] * min(1, recipe.clip_norm / norms[-1]) + recipe.weight_decay * params[name]
            buffers[name] = recipe.momentum * buffers[name] + step
            params[name] = params[name] - rate * buffers[name]
    return params, np.mean(losses), norms


def test_a_regularised_epoch_is_the_written_out_one(float64):
    dataset = coloured_dataset(crop_padding=0, horizontal_flip=False)
    recipe = dataclasses.replace(preset("darts"), batch_size=8, weight_decay=0.05, clip_norm=0.6, cutout=4, label_smoothing=0.1)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape) for name, shape in (("kernel", (3, 4)), ("bias", (4,)), ("side", (3, 4)))}
    settings = EpochSettings(SidedNetwork(), CELL, recipe, 0, False)
    state = TrainState(*(tree := (jax.tree.map(jnp.asarray, params), {})), recipe.optimiser(0.0).init(tree[0]))
    constants = (jnp.asarray(constant, jnp.float64) for constant in pixel_constants(dataset))
    pixels = Pixels(jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train), *constants)
    run = jax.jit(lambda *arguments: train_epoch(*arguments, settings=settings))
    state, totals = run(state, pixels, jnp.zeros(6, jnp.int32), Rates(jnp.float64(0.3), jnp.float64(0.25)), KEY)
    expected, loss, norms = slow_epoch(params, dataset, recipe, 0.3, 0.25)
    assert min(norms) < recipe.clip_norm < max(norms)  # some steps are clipped, others are not
    for name, leaf in expected.items():
        np.testing.assert_allclose(state.params[name], leaf, rtol=1e-10, atol=1e-12, err_msg=name)
    assert float(totals.loss) == pytest.approx(loss, rel=1e-6)  # kept in float32


@pytest.mark.parametrize("clip_norm", [0.5, 100.0])
def test_clipped_steps_equal_pytorch_s(clip_norm):
    torch = pytest.importorskip("torch")
    recipe = dataclasses.replace(preset("darts"), clip_norm=clip_norm, weight_decay=0.1)
    rng = np.random.default_rng(0)
    start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("a", (2, 3)), ("b", (4,)))}
    theirs = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in start.items()}
    rule = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.9, weight_decay=0.1)
    ours, optimiser = jax.tree.map(jnp.asarray, start), recipe.optimiser(jnp.float32(0.1))
    buffer = optimiser.init(ours)
    for _ in range(3):
        gradient = {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in start.items()}
        for name, leaf in theirs.items():
            leaf.grad = torch.tensor(gradient[name])
        torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
        rule.step()
        updates, buffer = optimiser.update(jax.tree.map(jnp.asarray, gradient), buffer, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
    for name, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[name].detach().numpy(), rtol=1e-5)


def test_label_smoothing_equals_pytorch_s():
    torch = pytest.importorskip("torch")
    logits, labels = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32), np.array([0, 6, 3, 3, 1])
    plain = epoch.losses_and_hits(jnp.asarray(logits), jnp.asarray(labels))[0].mean()
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1)
    assert float(epoch._smoothed(plain, jnp.asarray(logits), 0.1)) == pytest.approx(float(theirs), rel=1e-6)


def test_training_follows_the_schedule_of_drop_path(monkeypatch):
    seen = []
    original = epoch.train_epoch

    def watched(state, pixels, code, rates, key, *, settings):
        jax.debug.callback(lambda probability: seen.append(float(probability)), rates.drop_path, ordered=True)
        return original(state, pixels, code, rates, key, settings=settings)

    def draw(self, key, genotype=None, *, scheme="pytorch"):
        variables = PlainNetwork.init(self, key)
        return variables | {"params": variables["params"] | {"side": jnp.zeros((3, 4))}}

    monkeypatch.setattr(epoch, "train_epoch", watched)
    monkeypatch.setattr(SidedNetwork, "init", draw)
    recipe = Recipe(epochs=4, batch_size=11, drop_path=0.2, auxiliary_weight=0.4)
    training = train(SidedNetwork(), CELL, coloured_dataset(), recipe=recipe, seed=0, wiring="static")
    jax.effects_barrier()
    np.testing.assert_allclose(seen, [0, 0.05, 0.1, 0.15], rtol=1e-6)
    assert training.compile_seconds > 0
    assert training.recipe == recipe


def test_the_auxiliary_pooling_has_a_gradient_inside_a_program():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: (average_pool(x, 5, 3) * jnp.arange(4.0).reshape(1, 2, 2, 1)).sum()))(x)
    expected = np.zeros((8, 8))
    for at, weight in np.ndenumerate(np.arange(4.0).reshape(2, 2)):
        expected[3 * at[0] : 3 * at[0] + 5, 3 * at[1] : 3 * at[1] + 5] += weight / 25
    np.testing.assert_allclose(gradient, np.broadcast_to(expected[None, :, :, None], x.shape), rtol=1e-6)


# Skip connections and one separable convolution: what compiles soon, with drop path on some edges and not on others.
NORMAL = [("sep_conv_3x3", 0), ("skip_connect", 1), *[("skip_connect", 0), ("skip_connect", 1)] * 3]
REDUCE = [("max_pool_3x3", 0), ("skip_connect", 1), *[("skip_connect", 2), ("skip_connect", 1)] * 3]
PAIR = DartsGenotype(tuple(NORMAL), tuple(REDUCE))


class StoppedError(Exception):
    """Raised where a run is cut off."""


class TestDarts:
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=0.05, nesterov=False, clip_norm=5, drop_path=0.1)

    def run(self, network, recipe, resolution, **options):
        dataset = data.load("digits", resolution=resolution, limit=(128, 16))
        return train(network, PAIR, dataset, recipe=recipe, seed=0, wiring="static", **options)

    @pytest.fixture(autouse=True)
    def compiled_quickly(self, monkeypatch):
        monkeypatch.setattr(programs, "jax", SimpleNamespace(**{**vars(jax), "jit": quick_jit}))

    @pytest.mark.slow
    def test_a_pair_of_cells_learns_and_resumes_bit_for_bit(self, tmp_path):
        network = DartsNetwork(channels=2, cells=3)

        def stop(record):
            raise StoppedError

        whole = self.run(network, self.recipe, 16)
        with pytest.raises(StoppedError):
            self.run(network, self.recipe, 16, checkpoint=tmp_path, on_epoch=stop)
        resumed = self.run(network, self.recipe, 16, checkpoint=tmp_path, resume=True)
        assert resumed.compile_seconds == 0
        assert resumed.curves == whole.curves
        jax.tree.map(np.testing.assert_array_equal, resumed.variables, whole.variables)
        assert whole.curves[-1].train_loss < whole.curves[0].train_loss - 0.1
        scored = evaluate(network, whole.variables, PAIR, data.load("digits", resolution=16, limit=(128, 16)), "validation")
        assert scored.accuracy == whole.final["validation"].accuracy

    @pytest.mark.slow
    def test_by_its_own_recipe_the_auxiliary_classifier_is_trained(self):
        recipe = dataclasses.replace(preset("darts"), epochs=2, batch_size=32)
        network = with_auxiliary(DartsNetwork(channels=2, cells=3))
        training = self.run(network, recipe, 32)
        fresh = network.init(jax.random.fold_in(jax.random.key(0), 0), PAIR)
        moved = np.abs(np.asarray(training.variables["params"]["auxiliary"]["classifier"]) - fresh["params"]["auxiliary"]["classifier"])
        assert moved.max() > 1e-3
        assert training.status == "ok"


class TestTeaching:
    @pytest.mark.parametrize(
        ("network", "genotype", "recipe", "message"),
        [
            (CellNetwork(classes=4), CELL, {"auxiliary_weight": 0.4}, r"=0\.4, but the CellNetwork has no auxiliary classifier: set aux"),
            (DartsNetwork(classes=4), PAIR, {"auxiliary_weight": 0.4}, r"auxiliary classifier: build it with auxiliary=True, or set"),
            (
                DartsNetwork(classes=4, auxiliary=True),
                PAIR,
                {},
                r"has an auxiliary classifier, but the recipe has auxiliary_weight=0: set a",
            ),
            (CellNetwork(classes=4), CELL, {"drop_path": 0.2}, r"drop_path=0\.2, but the CellNetwork has no drop path: set drop_path=0"),
            (DartsNetwork(classes=4), PAIR, {"drop_path": 0.2}, r"drops the edges of a genotype: train with wiring='static'"),
            (
                DartsNetwork(classes=4, auxiliary=True),
                PAIR,
                {"auxiliary_weight": 0.4},
                r"coloured has images of 8x8 pixels: .* to 2x2 pixels \(8x8 for .*\), but got 2x2; resize the images .--resolution., or",
            ),
            (DartsNetwork(classes=4), CELL, {}, r"genotype is a CellGenotype; expected a DartsGenotype for a DartsNetwork"),
            (DartsNetwork(classes=4), str(PAIR), {}, r"genotype is a str; expected a DartsGenotype; parse it first: DartsGenotype.parse"),
            (
                TenasDartsNetwork(4, 3),
                PAIR,
                {},
                r"training needs the capability 'trainable', which TenasDartsNetwork lacks: give the class the method train_apply",
            ),
        ],
    )
    def test_train(self, network, genotype, recipe, message):
        with pytest.raises(TrainingError, match=message):
            train(network, genotype, coloured_dataset(), recipe=Recipe(**recipe), seed=0)

    def test_networks_without_them(self):
        with pytest.raises(TrainingError, match=r"CellNetworks have no auxiliary classifier: set the recipe's auxiliary_weight to 0"):
            with_auxiliary(CellNetwork())
        with pytest.raises(ValueError, match=r"CellNetwork has no drop path; expected drop_path=0.0, got 0.2"):
            CellNetwork().train_apply({}, {}, jnp.zeros((1, 8, 8, 3)), CELL, drop_path=0.2)
