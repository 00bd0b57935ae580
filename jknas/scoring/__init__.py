"""Score architectures, and keep the scores."""

from jknas.errors import StoreError
from jknas.scoring.record import STATUSES, ScoreKey, ScoreRecord
from jknas.scoring.scorer import Scorer, make_scorer, score_many, score_together
from jknas.scoring.store import Store

__all__ = ["STATUSES", "ScoreKey", "ScoreRecord", "Scorer", "Store", "StoreError", "make_scorer", "score_many", "score_together"]
