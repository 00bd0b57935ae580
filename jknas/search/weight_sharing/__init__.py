"""Search by weight sharing: a supernet whose weights all cells share is trained, and a cell is derived from it."""

from jknas.search.weight_sharing.darts_v1 import DartsV1
from jknas.search.weight_sharing.darts_v2 import DartsV2
from jknas.search.weight_sharing.enas import Enas
from jknas.search.weight_sharing.gdas import Gdas
from jknas.search.weight_sharing.rsps import Rsps
from jknas.search.weight_sharing.setn import Setn

__all__ = ["DartsV1", "DartsV2", "Enas", "Gdas", "Rsps", "Setn"]
