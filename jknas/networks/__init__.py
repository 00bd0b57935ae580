"""Networks of genotypes as pure functions, and as Flax modules."""

from jknas.networks.nasbench201.network import CellNetwork, restrict
from jknas.networks.parameters import Variables
from jknas.networks.wiring import Wiring

__all__ = ["CellNetwork", "Variables", "Wiring", "restrict"]
