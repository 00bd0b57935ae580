"""The errors of jknas: one base class, one subclass for each room, and the choice of a name from a list.

The command line prints the message of a :class:`JknasError` in one line and ends with exit code 2. Every message says what came, what was
expected and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class JknasError(ValueError):
    """Base of all errors that the caller can correct."""


class GenotypeError(JknasError):
    """A text, a list of operations or an integer code that is not a genotype of the space."""


class WorkerError(JknasError):
    """Workers that cannot be had as asked, that end again and again, or that cannot be sent what they should do."""


class SpaceError(JknasError):
    """A request that a search space cannot serve: an unknown name or rule, too many samples, an impossible network size."""


class NetworkError(JknasError):
    """A network, a wiring, parameters or images that do not fit each other."""


class KernelError(JknasError):
    """A kernel or a spectrum that is not defined for the given model, parameters or inputs."""


class UnsoundBackendError(JknasError, RuntimeError):
    """The installed JAX computes wrong matrix products on this device."""


class NeuralTangentsImportError(ImportError, JknasError):
    """The optional package neural-tangents is missing, or cannot be imported on the installed JAX."""


class DataError(JknasError):
    """Data that are missing, damaged, or not of the form that was asked for."""


class TabularError(JknasError):
    """A table of trained accuracies that cannot be read, or a question that it cannot answer."""


class TrainingError(JknasError):
    """A recipe, a network, a data set or a call that does not fit the others."""


class CheckpointError(TrainingError):
    """A folder that cannot be resumed from, or must not be written to."""


class ProxyError(JknasError):
    """A proxy that cannot be computed as asked: an unknown name or setting, or settings, batch and images that do not fit it."""


class StoreError(JknasError):
    """A score that cannot be stored, or a file that cannot be used as a store."""


class JsonTextError(JknasError):
    """A value that has no faithful JSON text, or a text that is not JSON."""


class MetricError(JknasError):
    """Scores and accuracies that cannot be compared, or options of a metric that are out of range."""


class SearchError(JknasError):
    """A search that cannot be run as asked, or a checkpoint that it cannot go on from."""


class DrawingError(JknasError):
    """Something that cannot be drawn, or a file that cannot be written."""


class CommandError(JknasError):
    """A command that cannot be run as it was given."""


def choose(kind: str, value: Any, options: tuple[str, ...], *, error: type[JknasError], where: str = "") -> str:
    """Return ``value`` if it is one of ``options``.

    Args:
        kind: what is chosen, for the message ("search space", "canonical rule").
        value: the name that was asked for.
        options: the names that exist.
        error: the class to raise.
        where: what follows the value in the message (" on edge 1<-0").

    Raises:
        JknasError: of the class ``error``: the value is none of the options. The message lists them and names the closest one.

    >>> choose("search space", "dart", ("nasbench201", "darts"), error=SpaceError)
    Traceback (most recent call last):
        ...
    jknas.errors.SpaceError: Unknown search space 'dart'; expected one of nasbench201, darts. Did you mean 'darts'?
    """
    if isinstance(value, str) and value in options:
        return value
    hint, came = (closest(value, options), shown(value, 60)) if isinstance(value, str) else ("", f"of type {type(value).__name__}")
    raise error(f"Unknown {kind} {came}{where}; expected one of {', '.join(options)}.{hint}")


def check_count(name: str, value: Any, *, error: type[JknasError]) -> None:
    """Raise unless ``value`` is a whole number, 1 or more.

    Raises:
        JknasError: of the class ``error``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise error(f"{name} is {value!r}; expected a whole number, 1 or more.")


def shown(text: str, longest: int) -> str:
    """Return a text in quotes; of one that is longer than ``longest``, the beginning and the number of characters."""
    return repr(text) if len(text) <= longest else f"{text[:40]!r}... ({len(text)} characters)"


def closest(value: str, options: Iterable[str]) -> str:
    """Return a sentence that asks whether the closest option was meant; empty where none is close."""
    close = difflib.get_close_matches(value[:60], tuple(options), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
