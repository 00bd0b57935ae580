"""Seven entries of FlexiBERT's benchmark (CC BY 4.0): the first five, and one of the nine architectures that were trained twice."""

import json

_NAMES = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst", "sts", "glue")
_LAYER = ("operation_type", "operation_parameter", "num_operation_heads", "feed_forward_dimension", "num_feed_forward")
_ENTRIES = (
    (0, 256, "SA WMA 4 1024 3; LT DCT 2 512 3; SA SDP 4 512 3; SA SDP 4 1024 1", "42.69 72.57 81.62 82.96 86.9 62.82 83.72 84.59 74.73375"),
    (1, 256, "LT DFT 4 1024 3; SA SDP 2 1024 1; DSC 9 4 512 3; DSC 5 2 512 1", "39.65 72.78 79.9 83.09 86.51 56.32 84.63 84.76 73.455"),
    (2, 128, "SA SDP 4 1024 1; LT DCT 2 1024 1; DSC 9 4 512 3; LT DFT 4 512 1", "32.76 67.79 75.0 80.87 84.37 53.43 82.57 81.85 69.83"),
    (3, 128, "DSC 9 4 512 1; DSC 5 2 512 1", "-2.07 63.8 71.08 78.0 81.15 58.48 78.67 79.86 63.62125000000001"),
    (4, 256, "DSC 5 2 1024 3; LT DCT 4 512 3; DSC 5 4 1024 1; SA SDP 4 512 1", "38.98 72.02 79.41 82.98 86.35 59.93 82.0 84.2 73.23375"),
    (60, 128, "DSC 5 4 1024 3; LT DCT 2 1024 3", "21.4 65.32 75.25 79.52 83.09 59.21 77.29 80.99 67.75875"),
    (222, 128, "DSC 5 4 1024 3; LT DCT 2 1024 3", "16.55 64.6 71.08 79.37 82.82 50.9 78.67 81.93 65.74"),
)
"""Of each its number, the width of its states, its layers and its scores."""

PARAMETERS = {0: 10_576_896, 1: 9_920_512, 2: 5_291_264, 3: 4_369_408, 4: 9_920_512}
"""Parameters of embeddings and layers as trained, by number, from the shapes of the TensorFlow code."""


def entries():
    """The entries as the file has them, by number."""
    return {number: _entry(number, hidden, layers, scores) for number, hidden, layers, scores in _ENTRIES}


def write_benchmark(path):
    """Write the entries as a file."""
    path.write_text(json.dumps(list(entries().values())), encoding="utf-8")
    return path


def _entry(number, hidden, layers, scores):
    read = [[int(word) if word.isdecimal() else word for word in layer.split()] for layer in layers.split("; ")]
    declared = [dict(zip(_LAYER, layer, strict=True)) for layer in read]
    return {
        "id": number,
        "is_running": False,
        "completed": True,
        "time_to_train": 2527.0,
        "scores": dict(zip(_NAMES, map(float, scores.split()), strict=True)),
        "hparams": {
            "learning_rate": 0.0005,
            "model_hparam_overrides": {"hidden_size": hidden, "nas_config": {"encoder_layers": declared}},
        },
    }
