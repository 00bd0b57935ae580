"""Progress of a training run on disk: one Orbax checkpoint per epoch, written to a temporary folder and then renamed.

A checkpoint holds the training state, the curves, an identity (everything that the numbers depend on) and a SHA-256 of all of it. What was
read is compared with the digest, so that a damaged file cannot go on as a slightly different training.
"""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jknas.errors import CheckpointError, JsonTextError
from jknas.files.json_text import differences, read_json, write_json
from jknas.files.lock import sole_user
from jknas.training.epoch import TrainState
from jknas.training.record import EpochRecord, Status

_FORMAT = 1
_KEPT = 2  # should the newest turn out to be damaged, the one before it is still there
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError)
"""What Orbax and TensorStore raise for missing, truncated or altered files."""


class Progress(NamedTuple):
    """A training run after its last finished epoch."""

    state: TrainState
    curves: tuple[EpochRecord, ...]
    status: Status


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """The checkpoints of one training run in one folder; use it in a ``with`` statement.

    Args:
        folder: created when it is not there.
        identity: what the run's numbers depend on, as plain data.
        resume: whether to go on from what the folder holds.

    Raises:
        CheckpointError: the folder is a file, is used by another process, or holds checkpoints although ``resume`` is false.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self._folder = Path(folder).absolute()
        self._identity = {"format": _FORMAT, **identity}
        if self._folder.exists() and not self._folder.is_dir():
            raise CheckpointError(f"checkpoint={str(folder)!r} is a file; expected a folder: give another path.")
        options = ocp.CheckpointManagerOptions(max_to_keep=_KEPT, enable_async_checkpointing=False)
        with ExitStack() as held:
            held.enter_context(sole_user(self._folder, error=CheckpointError))
            self._manager = held.enter_context(ocp.CheckpointManager(self._folder, options=options))
            latest = self._manager.latest_step()
            if latest is not None and not resume:
                raise CheckpointError(
                    f"the folder {self._folder} already holds a training run, {latest} epochs long: "
                    "go on from it with resume=True (--resume), or give another folder."
                )
            self._held = held.pop_all()

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def save(self, progress: Progress) -> None:
        """Write the state after ``len(progress.curves)`` epochs; on return it is complete on disk."""
        state = jax.device_get(progress.state)
        content = {
            "identity": self._identity,
            "curves": [record.as_dict() for record in progress.curves],
            "status": progress.status,
        }
        text = write_json(content, "checkpoint")
        record = {"text": text, "sha256": _digest(text, state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._manager.save(len(progress.curves), args=items)

    def restore(self, like: TrainState) -> Progress | None:
        """Read the newest checkpoint; None when there is none.

        Args:
            like: a state of the same structure, shapes and types.

        Raises:
            CheckpointError: the checkpoint is of another run, or damaged.
        """
        latest = self._manager.latest_step()
        if latest is None:
            return None
        text, digest, content = self._record(latest)
        found = content.get("identity")
        if found != self._identity:
            raise CheckpointError(
                f"the checkpoint in {self._folder} is of another training run: "
                f"{differences(found if isinstance(found, dict) else {}, self._identity)}. "
                "Resume with the same arguments, or give another folder."
            )
        shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        try:
            state = self._manager.restore(latest, args=ocp.args.Composite(state=ocp.args.StandardRestore(shapes))).state
            curves = tuple(EpochRecord.from_dict(record) for record in content["curves"])
        except _DAMAGED as error:
            raise self._damaged(latest, f"{type(error).__name__}: {str(error)[:200]}") from error
        if _digest(text, state) != digest:
            raise self._damaged(latest, "its SHA-256 is not the one written with it")
        return Progress(jax.tree.map(jax.numpy.array, state), curves, content["status"])

    def _record(self, step: int) -> tuple[str, str, dict[str, Any]]:
        try:
            record = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
            content = read_json(record["text"])
            if not isinstance(content, dict):
                raise JsonTextError(f"expected an object, got {type(content).__name__}")
            return record["text"], record["sha256"], content
        except _DAMAGED as error:
            raise self._damaged(step, f"{type(error).__name__}: {str(error)[:200]}") from error

    def _damaged(self, step: int, reason: str) -> CheckpointError:
        earlier = [other for other in self._manager.all_steps() if other < step]
        fallback = f"to go on from epoch {max(earlier)}, or the whole folder to start anew" if earlier else "to start anew"
        return CheckpointError(f"the checkpoint {self._folder / str(step)} is damaged ({reason}). Delete it {fallback}.")


def _digest(text: str, state: TrainState) -> str:
    digest = hashlib.sha256(text.encode())
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
