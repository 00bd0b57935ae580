"""The tangent kernel through training: its spectrum, its alignment with the labels and its distance from the initial kernel, by epoch.

A :class:`KernelRecorder` is a callback. :func:`jknas.training.train` takes it as ``on_variables``; any other loop over any JAX model calls
``recorder(epoch, params)`` by itself. :func:`jknas.report.kernel_training.draw_kernel_training` draws what it recorded.

Reference: Fort et al., "Deep learning versus kernel learning: an empirical study of loss landscape geometry and the time evolution of the
Neural Tangent Kernel", NeurIPS 2020, arXiv:2010.15110.
"""

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Int64, PyTree

from jknas import data
from jknas.errors import JsonTextError, TrainingError
from jknas.files.atomic import write_atomically
from jknas.files.json_text import read_json, write_json
from jknas.kernels.alignment import centred_label_alignment, kernel_distance
from jknas.kernels.examples import Outputs
from jknas.kernels.gram import gram
from jknas.kernels.objectives import Apply, Objective, Parameters
from jknas.kernels.spectrum import spectrum
from jknas.training.plan import check_pair


@dataclasses.dataclass(frozen=True, eq=False)
class KernelHistory:
    """The kernel of n examples after e numbers of epochs; what is undefined is NaN.

    Attributes:
        epochs: ``[e]``, epochs trained, 0 for the initial kernel.
        eigenvalues: ``[e, n]``, ascending.
        condition_number: ``[e]``, infinite for a saturated spectrum.
        effective_rank: ``[e]``.
        alignment: ``[e]``, with the labels, see :func:`jknas.kernels.alignment.centred_label_alignment`.
        distance: ``[e]``, from the kernel that was recorded first, see :func:`jknas.kernels.alignment.kernel_distance`.
        status: ``[e]``, of the spectrum, see :mod:`jknas.kernels.spectrum`.
    """

    epochs: Int64[np.ndarray, " e"]
    eigenvalues: Float64[np.ndarray, "e n"]
    condition_number: Float64[np.ndarray, " e"]
    effective_rank: Float64[np.ndarray, " e"]
    alignment: Float64[np.ndarray, " e"]
    distance: Float64[np.ndarray, " e"]
    status: tuple[str, ...]

    def save(self, path: str | Path) -> Path:
        """Write the history, as ``.npz`` or ``.json``; both hold every number exactly.

        Raises:
            TrainingError: another ending, or a file that cannot be written.
        """
        target = _checked(path)
        if target.suffix == ".json":
            plain = {name: value if name == "status" else value.tolist() for name, value in vars(self).items()}
            return write_atomically(target, write_json(plain, "kernel history"), error=TrainingError, what="the kernel history")
        buffer = io.BytesIO()
        arrays: dict[str, Any] = vars(self)
        np.savez(buffer, **arrays)
        return write_atomically(target, buffer.getvalue(), error=TrainingError, what="the kernel history")

    @classmethod
    def load(cls, path: str | Path) -> "KernelHistory":
        """Read what :meth:`save` wrote.

        Raises:
            TrainingError: no such file, or none that :meth:`save` wrote.
        """
        source = _checked(path)
        try:
            if source.suffix == ".json":
                found = read_json(source.read_text())
            else:
                with np.load(io.BytesIO(source.read_bytes()), allow_pickle=False) as archive:
                    found = {name: archive[name] for name in archive.files}
            read: dict[str, Any] = {name: np.asarray(found[name], np.float64) for name in cls.__dataclass_fields__ if name != "status"}
            status = tuple(map(str, found["status"]))
        except (OSError, EOFError, KeyError, TypeError, ValueError, JsonTextError, zipfile.BadZipFile) as error:
            hint = "give a file that KernelHistory.save wrote"
            raise TrainingError(f"cannot read a kernel history from {source} ({error}): {hint}") from error
        return cls(**read | {"epochs": read["epochs"].astype(np.int64), "status": status})


@dataclasses.dataclass
class KernelRecorder:
    """A callback that computes the kernel of a fixed probe batch and keeps what is to be known of it.

    One call takes one kernel, as :func:`jknas.gram` does, and the eigenvalues of an n x n matrix on the host. All calls share one
    compiled program. Only the first kernel is kept whole.

    Attributes:
        apply: the model, ``apply(params, x) -> [n, k]``.
        x: the probe's inputs, arrays ``[n, ...]``.
        labels: the probe's classes, ``[n]``.
        objective: see :func:`jknas.gram`, as what follows.
        outputs: how the outputs of an example are combined; not ``"full"``, which is no matrix.
        parameters: which parameters are differentiated.
        chunk_size: examples at once.
    """

    apply: Apply
    x: PyTree
    labels: Int[Array, " n"] | Int[np.ndarray, " n"]
    objective: Objective = "logits"
    outputs: Outputs = "sum"
    parameters: Parameters = "all"
    chunk_size: int | None = None
    _first: Any = dataclasses.field(default=None, init=False, repr=False)
    _rows: list[dict[str, Any]] = dataclasses.field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.outputs == "full":
            raise TrainingError('outputs="full" gives no square matrix: choose outputs="sum" or outputs="trace"')

    @classmethod
    def of_training(
        cls, network: Any, genotype: Any, dataset: data.Dataset, *, size: int = 64, seed: int = 0, **options: Any
    ) -> "KernelRecorder":
        """Return a recorder for :func:`jknas.training.train` of the same network, genotype and data: ``train(..., on_variables=recorder)``.

        The kernel is the one of evaluation mode, with the running averages of the epoch, which are not differentiated.

        Args:
            network: what is trained.
            genotype: likewise.
            dataset: likewise; the probe is from its training split, without augmentation.
            size: examples of the probe.
            seed: of their choice.
            **options: the other attributes of the class, but for ``parameters``, which are all.

        Raises:
            TrainingError: a network, genotype and data set that do not fit each other.
        """
        check_pair(network, genotype, dataset)
        x, labels = data.dataset.batch(dataset, size, seed)
        return cls(_Evaluated(network, genotype), x, labels, parameters=_is_parameter, **options)

    def __call__(self, epoch: int, params: PyTree) -> None:
        """Record the kernel at these parameters.

        Raises:
            TrainingError: an epoch that is no whole number, or does not come after the last one.
            KernelError: what :func:`jknas.gram` refuses.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer):
            raise TrainingError(f"epoch is {epoch!r}; expected a whole number")
        if self._rows and epoch <= self._rows[-1]["epochs"]:
            last = self._rows[-1]["epochs"]
            raise TrainingError(f"epoch {epoch} is not after epoch {last}, the last one recorded: make one recorder per training run")
        labels = jnp.asarray(self.labels) if self.objective == "loss" else None
        options: dict[str, Any] = {"objective": self.objective, "labels": labels, "outputs": self.outputs, "chunk_size": self.chunk_size}
        kernel = np.asarray(gram(self.apply, params, self.x, parameters=self.parameters, **options))
        self._first = kernel if self._first is None else self._first
        found = spectrum(kernel)
        self._rows.append(
            {
                "epochs": epoch,
                "eigenvalues": found.eigenvalues,
                "condition_number": found.condition_number,
                "effective_rank": found.effective_rank,
                "alignment": centred_label_alignment(kernel, self.labels),
                "distance": kernel_distance(kernel, self._first),
                "status": found.status,
            }
        )

    @property
    def history(self) -> KernelHistory:
        """What was recorded so far.

        Raises:
            TrainingError: nothing was.
        """
        if not self._rows:
            raise TrainingError("nothing was recorded yet: give the recorder to train as on_variables, or call it yourself")
        columns: dict[str, Any] = {name: np.asarray([row[name] for row in self._rows]) for name in self._rows[0]}
        return KernelHistory(**columns | {"status": tuple(columns["status"].tolist())})


@dataclasses.dataclass(frozen=True)
class _Evaluated:
    """A network in evaluation mode, as a function of all its variables."""

    network: Any
    genotype: Any

    def __call__(self, variables: Mapping[str, Any], x: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        averages = variables["batch_stats"]
        return self.network.apply(variables["params"], x, self.genotype, statistics="running", batch_stats=averages)


def _is_parameter(path: str) -> bool:
    return path.startswith("['params']")


def _checked(path: str | Path) -> Path:
    target = Path(path)
    if target.suffix not in {".json", ".npz"}:
        raise TrainingError(f"a kernel history is a .json or .npz file, got {target.name!r}")
    return target
