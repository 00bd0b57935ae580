"""Cell networks as pure pairs of init and apply; the only room that imports Flax."""

from jknas.networks.nasbench201.network import CellNetwork, Variables, Wiring, restrict
from jknas.networks.nasbench201.torch_weights import from_state_dict, to_state_dict

__all__ = ["CellNetwork", "Variables", "Wiring", "from_state_dict", "restrict", "to_state_dict"]
