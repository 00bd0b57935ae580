"""What a pruning search measures, as plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from jknas.search.pruning.removals import Found, Live

if TYPE_CHECKING:
    from jknas.networks.layers.initialisation import Scheme

Draws = Literal["repeat", "removal"]

PATCHES = 1000
"""Patches that the thin network normalises over at a time."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured.

    Attributes:
        statistics: ``"batch"``: training mode, examples coupled, N backward passes (TE-NAS). ``"example"``: every image normalised by
            itself, the kernel from one backward pass.
        repeats: how often everything is measured.
        batch: images of a kernel.
        samples: patches of a region count, a multiple of 1,000.
        draws: ``"repeat"``: a repeat has its own weights, images and patches, the same for all removals of a round. ``"removal"``: every
            removal has its own images and patches in every repeat, but the kernel's weights are drawn once a round, and the thin
            network's once a removal (the released code).
        schemes: initialisation of the kernel's network and of the thin one.
        unguarded: take the ratio of the extreme eigenvalues as it comes, negative or not, NaN as 1e5 and infinity as the largest number
            (the released code). Otherwise whatever has no condition number above rounding has an infinite one.
        at_once: kernels in one call: more than one suits an accelerator.
    """

    statistics: Literal["batch", "example"]
    repeats: int
    batch: int
    samples: int
    draws: Draws
    schemes: "tuple[Scheme, Scheme]"
    unguarded: bool
    at_once: int = 1


class Job(NamedTuple):
    """Supernets to measure on the same draws.

    Attributes:
        stage: which round, part of what is drawn.
        removal: which removal of the round, likewise where ``draws="removal"``.
        pairs: operations left for the kernel, and for the regions.
    """

    stage: int
    removal: int
    pairs: tuple[tuple[Live, Live], ...]

    def __str__(self) -> str:
        return f"removal {self.removal} of round {self.stage}"


class Measurement(NamedTuple):
    """What was found of the supernets of a job, and the seconds that it took, those of compilation apart."""

    found: list[Found]
    seconds: float
    compile_seconds: float
