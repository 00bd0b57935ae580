"""Short training of architectures: published recipes, one compiled program per epoch, curves as data, checkpoints, weights."""

from jknas.errors import CheckpointError, TrainingError
from jknas.training.evaluation import evaluate
from jknas.training.fine_tuning import FineTuning
from jknas.training.loop import train
from jknas.training.network import with_auxiliary
from jknas.training.recipe import PRESETS, Recipe, preset
from jknas.training.record import EpochRecord, Metrics, Training
from jknas.training.weights import TrainedNetwork, load_weights, save_weights

__all__ = [
    "PRESETS",
    "CheckpointError",
    "EpochRecord",
    "FineTuning",
    "Metrics",
    "Recipe",
    "TrainedNetwork",
    "Training",
    "TrainingError",
    "evaluate",
    "load_weights",
    "preset",
    "save_weights",
    "train",
    "with_auxiliary",
]
