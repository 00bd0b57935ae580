import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_stubs import CELL, PlainNetwork, coloured_dataset

from jknas.errors import CheckpointError, TrainingError
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import Recipe, train
from jknas.training.checkpoint import Checkpoints, Progress
from jknas.training.epoch import TrainState
from jknas.training.record import EpochRecord, Metrics

RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.05)
STATE = TrainState({"kernel": np.arange(6, dtype=np.float32)}, {"mean": np.ones(2, np.float32)}, ((), {"buffer": np.zeros(6, np.float32)}))
CURVES = tuple(EpochRecord(e, 0.1, 2.0 - e, 0.25, {"validation": Metrics(float("nan"), 0.5, 4)}, 0.1) for e in range(2))


class StoppedError(Exception):
    """Raised where a run is cut off."""


def stop_after(epochs: int):
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch + 1 == epochs:
            raise StoppedError

    return on_epoch


def run(**changes):
    arguments = {"network": PlainNetwork(), "genotype": CELL, "dataset": coloured_dataset(), "recipe": RECIPE, "seed": 3} | changes
    return train(arguments.pop("network"), arguments.pop("genotype"), arguments.pop("dataset"), **arguments)


def assert_identical(one, two):
    assert one.curves == two.curves  # seconds are not compared
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture
def half(tmp_path) -> Path:
    """A run of four epochs that was cut off after two."""
    with pytest.raises(StoppedError):
        run(checkpoint=tmp_path / "run", on_epoch=stop_after(2))
    return tmp_path / "run"


class TestResume:
    @pytest.mark.parametrize("cut", [1, 2, 4])
    def test_is_bit_for_bit_the_uninterrupted_run(self, tmp_path, whole, cut, capfd):
        with pytest.raises(StoppedError):
            run(checkpoint=tmp_path, on_epoch=stop_after(cut))
        seen = []
        resumed = run(checkpoint=tmp_path, resume=True, on_epoch=lambda record: seen.append(record.epoch))
        assert seen == list(range(cut, 4))
        assert_identical(resumed, whole)
        assert capfd.readouterr() == ("", "")

    def test_of_a_killed_process(self, tmp_path, whole):
        script = f"""
            import os, signal, sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_checkpoint import run
            def on_epoch(record):
                if record.epoch == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            run(checkpoint={str(tmp_path)!r}, on_epoch=on_epoch)
        """
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True, env=environment)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert_identical(run(checkpoint=tmp_path, resume=True), whole)

    def test_ignores_a_checkpoint_that_was_being_written(self, half, whole):
        shutil.copytree(half / "2", half / "3.orbax-checkpoint-tmp-17")
        (half / "3.orbax-checkpoint-tmp-17" / "commit_success.txt").unlink(missing_ok=True)
        assert_identical(run(checkpoint=half, resume=True), whole)

    def test_begins_in_an_empty_folder(self, tmp_path, whole):
        assert_identical(run(checkpoint=tmp_path / "new" / "run", resume=True), whole)

    def test_keeps_a_diverged_run_diverged(self, tmp_path):
        wild = Recipe(epochs=4, batch_size=8, learning_rate=1e38)
        first = run(checkpoint=tmp_path, recipe=wild)
        again = run(checkpoint=tmp_path, recipe=wild, resume=True)
        assert first.status == again.status == "diverged"
        assert len(again.curves) == len(first.curves) < 4


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seed": 4}, r"of another training run: seed is '3' there and '4' here\. Resume with the same arguments"),
            ({"recipe": Recipe(epochs=5, batch_size=8, learning_rate=0.05)}, r"recipe is .Recipe\(epochs=4.* there and .Recipe\(epochs=5"),
            ({"genotype": CellGenotype.from_code([3, 0, 1, 2, 4, 2])}, r"genotype is '\|nor_conv_3x3~0.*skip_connect~2\|' there"),
            ({"dataset": coloured_dataset(seed=1)}, r"dataset is 'coloured, sha256 "),
            ({"dataset": coloured_dataset(crop_padding=2)}, r"dataset is 'coloured, sha256 "),
            ({"scheme": "he_normal"}, r"scheme is 'pytorch' there and 'he_normal' here"),
            ({"wiring": "static"}, r"wiring is 'code' there and 'static' here"),
            ({"splits": ("test",)}, r"splits is .*validation.*test"),
        ],
    )
    def test_another_run(self, half, changes, message):
        with pytest.raises(CheckpointError, match=message):
            run(checkpoint=half, resume=True, **changes)

    def test_another_network(self, half):
        class Other(PlainNetwork):
            pass

        with pytest.raises(CheckpointError, match=r"network is 'PlainNetwork.*' there and '.*Other"):
            run(checkpoint=half, resume=True, network=Other())

    def test_a_used_folder_without_resume(self, half):
        with pytest.raises(
            CheckpointError,
            match=r"already holds a training run, 2 epochs long: go on from it with resume=True \(--resume\), or give another",
        ):
            run(checkpoint=half)

    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(CheckpointError, match=r"is a file; expected a folder"):
            run(checkpoint=tmp_path / "file")

    def test_a_folder_in_use(self, tmp_path):
        with Checkpoints(tmp_path, {"seed": 1}, resume=False), pytest.raises(CheckpointError, match="another process works in the folder"):
            Checkpoints(tmp_path, {"seed": 1}, resume=True)

    def test_resume_without_a_folder(self):
        with pytest.raises(TrainingError, match=r"resume=True needs checkpoint="):
            run(resume=True)


def saved(folder: Path) -> list[Path]:
    with Checkpoints(folder, {"seed": 1}, resume=False) as checkpoints:
        checkpoints.save(Progress(STATE, CURVES[:1], "ok"))
        checkpoints.save(Progress(STATE, CURVES, "ok"))
    return sorted(path for path in (folder / "2").rglob("*") if path.is_file())


def restored(folder: Path) -> Progress | None:
    with Checkpoints(folder, {"seed": 1}, resume=True) as checkpoints:
        return checkpoints.restore(jax.tree.map(jnp.asarray, STATE))


def restored_or_message(folder: Path) -> Progress | str | None:
    try:
        return restored(folder)
    except CheckpointError as error:
        return str(error)


def assert_as_saved(progress: Progress | None) -> None:
    assert progress is not None
    jax.tree.map(np.testing.assert_array_equal, progress.state, STATE)
    assert [str(record) for record in progress.curves] == [str(record) for record in CURVES]


class TestDamage:
    def test_a_round_trip_keeps_every_number(self, tmp_path):
        saved(tmp_path)
        assert_as_saved(restored(tmp_path))

    # When one array cannot be read, TensorStore's threads may still finish others after Orbax has closed its event loop, and Python reports
    # that as an exception that it ignored. The error that counts has been raised by then.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("damage", ["shorten", "empty", "flip", "remove"])
    def test_every_file_is_refused_or_harmless(self, tmp_path, damage):
        files = saved(tmp_path / "whole")
        refused = []
        for number, path in enumerate(files):
            folder = tmp_path / f"copy {number}"
            shutil.copytree(tmp_path / "whole", folder)
            target = folder / path.relative_to(tmp_path / "whole")
            content = target.read_bytes()
            middle = len(content) // 2
            if damage == "remove":
                target.unlink()
            else:
                flipped = content[:middle] + bytes(255 - byte for byte in content[middle : middle + 1]) + content[middle + 1 :]
                target.write_bytes({"shorten": content[:middle], "empty": b"", "flip": flipped}[damage])
            outcome = restored_or_message(folder)
            if isinstance(outcome, str):
                assert "is damaged (" in outcome
                assert "Delete it to go on from epoch 1, or the whole folder to start anew." in outcome
                refused.append(path)
            else:
                assert_as_saved(outcome)
        assert any("record" in path.parts for path in refused)
        assert any("state" in path.parts for path in refused)

    def test_altered_curves_are_noticed(self, tmp_path):
        saved(tmp_path)
        target = tmp_path / "2" / "record" / "metadata"
        text = target.read_text()
        assert "2.0" in text
        target.write_text(text.replace("2.0", "1.0"))
        with pytest.raises(CheckpointError, match=r"its SHA-256 is not the one written with it"):
            restored(tmp_path)
