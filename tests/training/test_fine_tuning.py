"""Fine-tuning: the schedule, AdamW against a step written out, and training a tiny encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_text

from jknas.data.text import TextDataset
from jknas.errors import TrainingError
from jknas.networks.skip_transformer import SkipTransformerNetwork
from jknas.training import FineTuning, evaluate, preset, train
from jknas.training.lengths import grouped, lengths, widths
from jknas.training.prediction import f1_score, predict

NETWORK = SkipTransformerNetwork(channels=8, cells=3, input_channels=12, heads=2, feed_forward=8, positions=8)
SPACE = tiny_text.SPACE
RECIPE = FineTuning(epochs=3, batch_size=8, learning_rate=1e-2, dropout=0.0)


def pairs(count, seed=0):
    """Sequences whose class is whether their second token is above 6."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, 12, (count, 6))
    ids[:, 0] = 1
    tokens = np.stack([ids, np.zeros_like(ids), np.ones_like(ids)], 1).astype(np.int32)
    return tokens, (ids[:, 1] > 6).astype(np.int32)


def dataset():
    splits = {name: pairs(count, seed) for seed, (name, count) in enumerate((("train", 512), ("validation", 64), ("test", 24)))}
    arrays = {f"{axis}_{name}": part for name, both in splits.items() for axis, part in zip("xy", both, strict=True)}
    return TextDataset(name="toy", num_classes=2, source="made", vocabulary=12, **arrays)


class TestSchedule:
    def test_it_falls_from_the_first_step(self):
        recipe = FineTuning(epochs=2, learning_rate=1.0)
        np.testing.assert_allclose(recipe.learning_rates(0, 4), [1, 7 / 8, 6 / 8, 5 / 8])
        np.testing.assert_allclose(recipe.learning_rates(1, 4), [4 / 8, 3 / 8, 2 / 8, 1 / 8])

    def test_it_warms_up(self):
        recipe = FineTuning(epochs=2, learning_rate=2.0, warmup=0.25)
        np.testing.assert_allclose(recipe.learning_rates(0, 6), [0, 2 / 3, 4 / 3, 2, 2 * 8 / 9, 2 * 7 / 9], rtol=1e-6)
        assert recipe.learning_rates(1, 6)[-1] == pytest.approx(2 / 9)

    def test_the_paper_counts(self):
        """Batch 4: 917 steps per epoch of MRPC and 623 of RTE."""
        for name, pairs_of, steps in (("knas-mrpc", 3668, 917), ("knas-rte", 2490, 623)):
            recipe = preset(name)
            assert -(-pairs_of // recipe.batch_size) == steps
            assert recipe.learning_rates(0, steps)[0] == pytest.approx(recipe.learning_rate)


@pytest.mark.parametrize(("clip", "decay"), [(None, 0.0), (1.0, 0.1)])
def test_a_step_of_adamw_written_out(clip, decay):
    recipe = FineTuning(clip_norm=clip, weight_decay=decay)
    rng, params = np.random.default_rng(0), np.array([1.0, -2.0, 0.5], np.float32)
    state = recipe.optimiser(0.0).init(jnp.asarray(params))
    first, second, expected = np.zeros(3), np.zeros(3), params.astype(np.float64)
    for step, rate in enumerate((0.1, 0.05, 0.2), start=1):
        gradient = rng.normal(size=3).astype(np.float32)
        updates, state = recipe.optimiser(jnp.asarray(rate, jnp.float32)).update(jnp.asarray(gradient), state, jnp.asarray(params))
        params = params + np.asarray(updates)
        clipped = gradient * (min(1, clip / np.linalg.norm(gradient)) if clip else 1)
        first, second = 0.9 * first + 0.1 * clipped, 0.999 * second + 0.001 * clipped**2
        moved = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = expected - rate * (moved + decay * expected)
        np.testing.assert_allclose(params, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"warmup": 1.0},
        {"dropout": -0.1},
        {"learning_rate": 0},
        {"clip_norm": 0},
        {"batch_size": 2.5},
        {"weight_decay": float("inf")},
        {"group_by_length": 1},
    ],
)
def test_values_out_of_range(change):
    with pytest.raises(TrainingError, match=f"{next(iter(change))} is"):
        FineTuning(**change)


def test_it_learns_and_repeats_and_resumes(tmp_path):
    data, genotype = dataset(), SPACE.parse("highway:3")
    seen = []

    def stop_after_two(record):
        seen.append(record)
        if len(seen) == 2:
            raise KeyboardInterrupt

    whole = train(NETWORK, genotype, data, recipe=RECIPE, seed=0)
    assert [epoch.learning_rate for epoch in whole.curves] == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
    assert whole.final["validation"].accuracy > 0.9
    with pytest.raises(KeyboardInterrupt):
        train(NETWORK, genotype, data, recipe=RECIPE, seed=0, checkpoint=tmp_path / "run", on_epoch=stop_after_two)
    resumed = train(NETWORK, genotype, data, recipe=RECIPE, seed=0, checkpoint=tmp_path / "run", resume=True)
    assert resumed.curves == whole.curves
    for leaf, other in zip(jax.tree.leaves(resumed.variables), jax.tree.leaves(whole.variables), strict=True):
        np.testing.assert_array_equal(leaf, other)
    found = evaluate(NETWORK, whole.variables, genotype, data, "validation")
    assert found.accuracy == whole.final["validation"].accuracy
    predicted = predict(NETWORK, whole.variables, genotype, data, "validation")
    assert (predicted == data.y_validation).mean() == found.accuracy


def test_one_program_trains_every_wiring_at_every_rate():
    data, seconds = dataset(), []
    recipe = dataclasses.replace(RECIPE, epochs=1, dropout=0.0)
    for genotype in SPACE.enumerate():
        trained = train(NETWORK, genotype, data, recipe=dataclasses.replace(recipe, learning_rate=1e-3 * (1 + len(seconds))), seed=0)
        seconds.append(trained.compile_seconds)
    assert len(seconds) == 3
    assert seconds[1:] == [0.0, 0.0]


def padded(tokens, places, seed=0):
    """Cut sequences at random lengths."""
    sizes = np.random.default_rng(seed).integers(2, places + 1, len(tokens))
    tokens = np.pad(tokens, ((0, 0), (0, 0), (0, places - tokens.shape[-1])), mode="edge")
    keep = np.arange(places) < sizes[:, None]
    return np.stack([np.where(keep, tokens[:, 0], 0), tokens[:, 1], keep], 1).astype(np.int32), sizes


class TestGroupedByLength:
    def test_batches_hold_neighbours(self):
        tokens, sizes = padded(pairs(700)[0], 64)
        np.testing.assert_array_equal(lengths(jnp.asarray(tokens)), sizes)
        words = np.random.default_rng(1).integers(2**32, size=(700, 2), dtype=np.uint32)
        order = np.argsort(words[:, 0])
        found = np.asarray(grouped(jnp.asarray(order), jnp.asarray(sizes), jnp.asarray(words[:, 1]), batch_size=8))
        np.testing.assert_array_equal(np.sort(found), np.arange(700))
        np.testing.assert_array_equal(found[696:], order[696:])
        longest = {name: sizes[rows[:696].reshape(87, 8)].max(1) for name, rows in (("random", order), ("grouped", found))}
        assert longest["grouped"].mean() < 36
        assert longest["random"].mean() > 56
        # Two chunks, of 50 and 37 batches; the batches do not come in the order of their lengths.
        chunks = [set(order[:400]), set(order[400:696])]
        assert all(any(set(batch) <= chunk for chunk in chunks) for batch in found[:696].reshape(87, 8))
        assert abs(np.corrcoef(np.arange(87), longest["grouped"])[0, 1]) < 0.3

    @pytest.mark.parametrize(("places", "expected"), [(96, (48, 64, 72, 96)), (64, (32, 40, 48, 64)), (12, (8, 12)), (5, (5,))])
    def test_widths(self, places, expected):
        assert widths(places) == expected

    @pytest.mark.slow
    def test_what_is_cut_off_changes_nothing(self):
        """The same batches, computed to the end: equal up to rounding (no dropout, whose draws depend on the width)."""
        data, genotype = dataset(), SPACE.parse("highway:3")
        names = ("x_train", "x_validation", "x_test")
        data = dataclasses.replace(data, **{name: padded(getattr(data, name), 16)[0] for name in names})
        network = dataclasses.replace(NETWORK, positions=16)
        recipe = dataclasses.replace(RECIPE, epochs=1, group_by_length=True)
        cut = train(network, genotype, data, recipe=recipe, seed=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jknas.training.epoch.widths", lambda places: (places,))
            whole = train(network, genotype, data, recipe=dataclasses.replace(recipe, weight_decay=1e-30), seed=0)
        other = train(network, genotype, data, recipe=dataclasses.replace(recipe, group_by_length=False), seed=0)
        assert min(cut.compile_seconds, whole.compile_seconds) > 0  # two programs
        first, second, third = (jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(run.variables)]) for run in (cut, whole, other))
        assert jnp.abs(first - second).max() < 1e-3  # Adam divides by small gradients
        assert jnp.abs(first - third).max() > 1e-2  # other batches


@pytest.mark.slow
def test_dropout_is_drawn_by_the_seed():
    data, genotype = dataset(), SPACE.parse("plain")
    losses = {
        (dropout, seed): train(NETWORK, genotype, data, recipe=dataclasses.replace(RECIPE, epochs=1, dropout=dropout), seed=seed)
        .curves[0]
        .train_loss
        for dropout in (0.0, 0.1)
        for seed in (0, 1)
    }
    assert len(set(losses.values())) == 4


def test_f1_of_the_majority():
    """All of MRPC's pairs called paraphrases: .8122 on the 408 of dev, .7987 on the 1,725 of test."""
    for count, positives, expected in ((408, 279, 0.8122), (1725, 1147, 0.7987)):
        labels = (np.arange(count) < positives).astype(np.int32)
        assert f1_score(labels, np.ones_like(labels)) == pytest.approx(expected, abs=5e-5)
    assert np.isnan(f1_score(np.zeros(3, np.int32), np.zeros(3, np.int32)))
    with pytest.raises(TrainingError, match="other classes than 0 and 1"):
        f1_score(np.array([0, 2]), np.array([0, 1]))
