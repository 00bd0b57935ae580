"""The space of skip connections in transformer encoders."""

from jknas.spaces.skip_transformer.genotype import FAMILIES, SkipGenotype
from jknas.spaces.skip_transformer.space import ROBERTA_LARGE, SIX_LAYERS, skip_space

SPACE = SIX_LAYERS

__all__ = ["FAMILIES", "ROBERTA_LARGE", "SIX_LAYERS", "SPACE", "SkipGenotype", "skip_space"]
