"""The DARTS space."""

from jknas.spaces.darts.genotype import EDGES, OPERATIONS, DartsGenotype
from jknas.spaces.darts.space import DARTS

SPACE = DARTS

__all__ = ["DARTS", "EDGES", "OPERATIONS", "SPACE", "DartsGenotype"]
