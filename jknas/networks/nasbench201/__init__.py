"""Networks of the NAS-Bench-201 space: the published macro network, and TE-NAS's thin one."""

from jknas.networks.nasbench201.network import CellNetwork, Variables, restrict
from jknas.networks.nasbench201.torch_weights import from_state_dict, to_state_dict
from jknas.networks.nasbench201.wiring import Wiring

__all__ = ["CellNetwork", "Variables", "Wiring", "from_state_dict", "restrict", "to_state_dict"]
