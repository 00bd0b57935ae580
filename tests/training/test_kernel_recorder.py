"""The kernel through training: what is recorded is what the definitions say, from the parameters that training had."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import quick_jit
from training_stubs import CELL, PlainNetwork, coloured_dataset

from jknas import data
from jknas.data.dataset import batch
from jknas.errors import TrainingError
from jknas.kernels.alignment import centred_label_alignment, kernel_distance
from jknas.kernels.gram import gram
from jknas.networks.nasbench201.network import CellNetwork
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import Recipe, train
from jknas.training.kernel_recorder import KernelHistory, KernelRecorder
from jknas.xla import programs

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05)


def trained(*, on_variables, **changes):
    options = {"recipe": RECIPE, "seed": 0} | changes
    return train(PlainNetwork(), CELL, coloured_dataset(), on_variables=on_variables, **options)


def test_the_variables_of_every_epoch_are_seen():
    seen = []
    training = trained(on_variables=lambda epochs, variables: seen.append((epochs, jax.tree.map(np.array, variables))))
    assert [epochs for epochs, _ in seen] == [0, 1, 2, 3]
    jax.tree.map(np.testing.assert_array_equal, seen[-1][1], training.variables)
    initial = PlainNetwork().init(jax.random.fold_in(jax.random.key(0), 0))
    np.testing.assert_array_equal(seen[0][1]["params"]["kernel"], initial["params"]["kernel"])
    assert training.curves == trained(on_variables=None).curves


def test_a_resumed_run_shows_the_start_and_the_epochs_that_are_left(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(record):
        if record.epoch == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(on_variables=None, on_epoch=stop, checkpoint=tmp_path)
    whole, seen = [], []
    trained(on_variables=lambda epochs, variables: whole.append(np.array(variables["params"]["kernel"])))
    keep = lambda epochs, variables: seen.append((epochs, np.array(variables["params"]["kernel"])))  # noqa: E731
    trained(on_variables=keep, checkpoint=tmp_path, resume=True)
    assert [epochs for epochs, _ in seen] == [0, 3]
    np.testing.assert_array_equal(seen[0][1], whole[0])
    np.testing.assert_array_equal(seen[1][1], whole[3])


@pytest.mark.parametrize("options", [{}, {"outputs": "trace", "chunk_size": 4}, {"objective": "loss"}])
def test_the_record_is_that_of_the_kernels(options):
    dataset, network = coloured_dataset(), PlainNetwork()
    recorder, kept = KernelRecorder.of_training(network, CELL, dataset, size=9, seed=2, **options), []

    def both(epochs, variables):
        recorder(epochs, variables)
        kept.append(jax.tree.map(jnp.array, variables))

    trained(on_variables=both)
    x, labels = batch(dataset, 9, 2)
    kernels = []
    for variables in kept:
        averages = variables["batch_stats"]
        model = lambda p, x, averages=averages: network.apply(p, x, CELL, statistics="running", batch_stats=averages)  # noqa: E731
        kernels.append(
            np.asarray(gram(model, variables["params"], x, labels=jnp.asarray(labels), method="jacobian", **options), np.float64)
        )
    history = recorder.history
    np.testing.assert_array_equal(history.epochs, [0, 1, 2, 3])
    for place, kernel in enumerate(kernels):
        values = np.linalg.eigvalsh(kernel)
        np.testing.assert_allclose(history.eigenvalues[place], values, atol=1e-5 * values[-1])
        assert history.alignment[place] == pytest.approx(centred_label_alignment(kernel, labels), abs=1e-5)
        assert history.distance[place] == pytest.approx(kernel_distance(kernel, kernels[0]), abs=1e-5)
    assert history.distance[0] == pytest.approx(0, abs=1e-12)
    assert (history.distance[1:] > 1e-6).all()
    assert history.status == ("saturated",) * 4  # four colour channels cannot tell nine examples apart
    assert np.isinf(history.condition_number).all()
    assert ((history.effective_rank >= 1) & (history.effective_rank <= 9)).all()


def test_any_optax_loop_can_record():
    rng = np.random.default_rng(0)
    x, labels = jnp.asarray(rng.standard_normal((12, 4)), jnp.float32), np.arange(12) % 3
    params = {name: jnp.asarray(rng.standard_normal(shape) / 2, jnp.float32) for name, shape in (("w", (4, 16)), ("u", (16, 3)))}
    apply = lambda p, x: jax.nn.relu(x @ p["w"]) @ p["u"]  # noqa: E731
    recorder, optimiser = KernelRecorder(apply, x, labels), optax.sgd(0.5)
    state = optimiser.init(params)
    loss = jax.jit(jax.grad(lambda p: optax.softmax_cross_entropy_with_integer_labels(apply(p, x), jnp.asarray(labels)).mean()))
    recorder(0, params)
    for step in range(30):
        updates, state = optimiser.update(loss(params), state)
        params = optax.apply_updates(params, updates)
        if step % 10 == 9:
            recorder(step + 1, params)
    assert recorder.history.epochs.tolist() == [0, 10, 20, 30]
    assert (recorder.history.distance[1:] > 1e-3).all()


@pytest.mark.slow
def test_digits_and_a_cell(monkeypatch):
    """A real network for two epochs."""
    monkeypatch.setattr(programs, "jax", SimpleNamespace(**{**vars(jax), "jit": quick_jit}))
    network, cell, digits = CellNetwork(channels=4, cells=1), CellGenotype.from_code([1, 1, 0, 1, 0, 1]), data.load("digits")
    recorder = KernelRecorder.of_training(network, cell, digits, size=24)
    recipe = Recipe(epochs=2, batch_size=50, learning_rate=0.1)
    training = train(network, cell, digits, recipe=recipe, seed=0, wiring="static", on_variables=recorder)
    assert training.status == "ok"
    history = recorder.history
    assert history.eigenvalues.shape == (3, 24)
    assert history.status == ("ok",) * 3
    assert history.distance[2] > 0.01
    assert (history.alignment > 0).all()
    assert (history.condition_number > 1).all()


def history(**changes):
    rng = np.random.default_rng(0)
    some = {
        "epochs": np.array([0, 2, 5]),
        "eigenvalues": np.sort(rng.uniform(0.1, 9, (3, 4)), axis=1),
        "condition_number": np.array([3.0, np.inf, np.nan]),
        "effective_rank": rng.uniform(1, 4, 3),
        "alignment": np.array([0.1, 0.2, np.nan]),
        "distance": np.array([0, 1 / 3, 0.7]),
        "status": ("ok", "saturated", "negative"),
    }
    return KernelHistory(**some | changes)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_files_hold_every_number(tmp_path, suffix):
    path, saved = tmp_path / f"history{suffix}", history()
    assert saved.save(path) == path
    read = KernelHistory.load(path)
    for name, value in vars(saved).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    assert read.epochs.dtype == np.int64
    assert type(read.status) is tuple


def test_what_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"is a \.json or \.npz file, got 'history.csv'"):
        history().save(tmp_path / "history.csv")
    for name, content in (("other.json", "{}"), ("broken.json", "{"), ("broken.npz", "PK")):
        (tmp_path / name).write_text(content)
        with pytest.raises(
            TrainingError, match=f"cannot read a kernel history from .*{name} .*: give a file that KernelHistory.save wrote"
        ):
            KernelHistory.load(tmp_path / name)
    with pytest.raises(TrainingError, match="cannot read a kernel history from"):
        KernelHistory.load(tmp_path / "missing.npz")
    whole = history().save(tmp_path / "whole.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(TrainingError, match="cannot read a kernel history from"):
            KernelHistory.load(tmp_path / "cut.npz")
    recorder = KernelRecorder(lambda p, x: x @ p, jnp.eye(3), np.arange(3))
    with pytest.raises(TrainingError, match="nothing was recorded yet"):
        _ = recorder.history
    with pytest.raises(TrainingError, match=r"epoch is 0.5; expected a whole number"):
        recorder(0.5, jnp.ones((3, 2)))
    recorder(4, jnp.ones((3, 2)))
    with pytest.raises(TrainingError, match="epoch 4 is not after epoch 4, the last one recorded: make one recorder per training run"):
        recorder(4, jnp.ones((3, 2)))
    with pytest.raises(TrainingError, match='outputs="full" gives no square matrix'):
        KernelRecorder(lambda p, x: x @ p, jnp.eye(3), np.arange(3), outputs="full")
    with pytest.raises(TrainingError, match="has classes=10, but coloured needs 4"):
        KernelRecorder.of_training(PlainNetwork(classes=10), CELL, coloured_dataset())
