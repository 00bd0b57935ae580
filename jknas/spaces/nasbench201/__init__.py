"""The NAS-Bench-201 space."""

from jknas.errors import GenotypeError
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.spaces.nasbench201.space import NASBENCH201

SPACE = NASBENCH201

__all__ = ["EDGES", "NASBENCH201", "OPERATIONS", "SPACE", "CellGenotype", "GenotypeError"]
