"""Read an entry of the benchmark's file, ``BERT_benchmark.json``: the declared architecture and its scores.

The file is a list of 500 entries, 491 of them different as declared and 301 as trained (:mod:`jknas.spaces.flexibert.genotype`). It is not
part of the package; its authors publish it under CC BY 4.0 (github.com/aaronserianni/training-free-nas, ``data/``). Nine architectures
were trained twice: their scores differ by the noise of a run, which has a standard deviation of 0.6 in GLUE.
"""

import math
from collections.abc import Mapping
from typing import Any

from jknas.errors import GenotypeError
from jknas.spaces.flexibert.genotype import EncoderLayer, FlexibertGenotype

SCORES: tuple[str, ...] = ("glue", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst", "sts")
"""Scores on the development sets, times 100: accuracy, but for CoLA Matthews' and for STS Pearson's correlation; ``glue`` is the plain mean
of the other eight. One run each."""

_TYPES = {"SA": ("SDP", "WMA"), "LT": ("DFT", "DCT"), "DSC": ("5", "9")}


def read_record(record: Mapping[str, Any]) -> tuple[FlexibertGenotype, dict[str, float]]:
    """Return the architecture and the scores of an entry.

    Raises:
        GenotypeError: the entry lacks a field, declares a layer that is none of the space, or has a score that is no finite number.
    """
    try:
        overrides = record["hparams"]["model_hparam_overrides"]
        hidden, layers, scores = overrides["hidden_size"], overrides["nas_config"]["encoder_layers"], record["scores"]
        genotype = FlexibertGenotype(hidden, tuple(_layer(layer) for layer in layers))
        found = {name: scores[name] for name in SCORES}
    except (KeyError, TypeError) as error:
        raise GenotypeError(
            f"the entry is not one of BERT_benchmark.json ({type(error).__name__}: {error}): expected scores, and hparams with hidden_size "
            "and encoder_layers; take the file as its authors publish it."
        ) from error
    for name, score in found.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise GenotypeError(f"the entry has the score {name} = {score!r}; expected a finite number: take the file as published.")
    return genotype, {name: float(score) for name, score in found.items()}


def _layer(layer: Mapping[str, Any]) -> EncoderLayer:
    kind, parameter = layer["operation_type"], str(layer["operation_parameter"])
    if parameter not in _TYPES.get(kind, ()):
        known = ", ".join(f"{name} with {' or '.join(names)}" for name, names in _TYPES.items())
        raise GenotypeError(f"the entry has an operation {kind!r} with {parameter!r}; expected {known}.")
    operator = f"DSC{parameter}" if kind == "DSC" else parameter
    return EncoderLayer(operator, layer["num_operation_heads"], layer["feed_forward_dimension"], layer["num_feed_forward"])
