"""Networks of the NAS-Bench-201 space: the published macro network, and TE-NAS's thin one."""

from jknas.networks.nasbench201.network import CellNetwork, restrict
from jknas.networks.parameters import Variables
from jknas.networks.wiring import Wiring

__all__ = ["CellNetwork", "Variables", "Wiring", "restrict"]
