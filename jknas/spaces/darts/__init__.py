"""The DARTS space."""

from jknas.spaces.darts.genotype import EDGES, OPERATIONS, DartsGenotype
from jknas.spaces.darts.space import DARTS

__all__ = ["DARTS", "EDGES", "OPERATIONS", "DartsGenotype"]
