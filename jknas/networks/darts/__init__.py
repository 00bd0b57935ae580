"""Networks of the DARTS space: the macro networks that are searched and trained, and TE-NAS's own small ones."""

from jknas.networks.darts.network import DartsNetwork
from jknas.networks.darts.parameters import restrict
from jknas.networks.darts.tenas import TenasDartsNetwork
from jknas.networks.darts.tenas_thin import TenasDartsThinNetwork
from jknas.networks.darts.wiring import resolve_wiring

__all__ = ["DartsNetwork", "TenasDartsNetwork", "TenasDartsThinNetwork", "resolve_wiring", "restrict"]
