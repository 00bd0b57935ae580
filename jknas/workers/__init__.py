"""Workers: other processes that do the independent parts of a computation, on this machine or on a Ray cluster.

This room knows no scores and no networks: a pool calls one function on many jobs. Importing it imports neither JAX nor Ray.
"""

from jknas.workers.pool import Pool

__all__ = ["Pool"]
