"""The space of the 500 BERT-like encoders that were trained for FlexiBERT's benchmark."""

from jknas.spaces.flexibert.genotype import EncoderLayer, FlexibertGenotype
from jknas.spaces.flexibert.space import FLEXIBERT

SPACE = FLEXIBERT

__all__ = ["FLEXIBERT", "SPACE", "EncoderLayer", "FlexibertGenotype"]
