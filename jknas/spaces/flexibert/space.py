"""The FlexiBERT space: 48 types of layers, two or four of them, states of width 128 or 256; 10.6 million declared encoders.

**As trained there are 2,664**, because the declared operators were very probably never used in training, nor the feed-forward width of
layers with one feed-forward layer: :mod:`jknas.spaces.flexibert.genotype` says why. ``canonical`` with the rule "function" returns the
encoder of the smallest code that is the same network as trained; with "string" every genotype stays.

``sample`` draws as the benchmark drew its 500: width and depth first, then every layer, each uniformly. A uniform draw from the whole space
would have two layers in one of 2,305 cases. ``mutate`` changes one field: the width, the depth, or the operator, the heads, the
feed-forward width or the feed-forward layers of one layer; added layers are drawn.

Reference: Serianni and Kalita, ACL 2023, arXiv:2306.00288.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from jknas.errors import SpaceError, choose
from jknas.spaces.flexibert.cost import EMBEDDING, macs, parameters
from jknas.spaces.flexibert.genotype import (
    DEPTHS,
    FEED_FORWARD,
    FEED_FORWARDS,
    HEADS,
    HIDDEN,
    LAYERS,
    OPERATIONS,
    OPERATORS,
    PLACES,
    EncoderLayer,
    FlexibertGenotype,
)
from jknas.spaces.flexibert.graph import cell_graphs
from jknas.spaces.flexibert.record import read_record
from jknas.spaces.sampling import check_generator
from jknas.spaces.space import Space

RULES = ("function", "string")
MUTATION_RULES = ("field",)
SIZE = len(HIDDEN) * sum(len(LAYERS) ** depth for depth in DEPTHS)

FIELDS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"operator": OPERATORS, "heads": HEADS, "feed_forward": FEED_FORWARD, "feed_forwards": FEED_FORWARDS}
)
"""Of a layer, by field the values."""

NAMED: Mapping[str, FlexibertGenotype] = MappingProxyType(
    {
        "smallest": FlexibertGenotype(min(HIDDEN), (EncoderLayer("SDP", 2, 512, 1),) * min(DEPTHS)),
        "largest": FlexibertGenotype(max(HIDDEN), (EncoderLayer("SDP", 4, 1024, 3),) * max(DEPTHS)),
    }
)


def sample(rng: np.random.Generator, n: int | None = None, *, unique: bool = False) -> Any:
    """Return one genotype, or a tuple of n, drawn as the benchmark's 500 were: see the module.

    Args:
        rng: the source of randomness; it advances.
        n: how many; None for a single genotype, not in a tuple.
        unique: whether no genotype may come twice.

    Raises:
        SpaceError: a negative n, or more unique genotypes than there are.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    check_generator(rng)
    if n is None:
        return _drawn(rng)
    if n < 0 or (unique and n > SIZE):
        raise SpaceError(f"n = {n} encoders asked for; expected 0 or more, and of unique ones at most the {SIZE:,} of the space.")
    found: list[FlexibertGenotype] = []
    seen: set[FlexibertGenotype] = set()
    while len(found) < n:
        genotype = _drawn(rng)
        if not unique or genotype not in seen:
            found.append(genotype)
            seen.add(genotype)
    return tuple(found)


def mutate(genotype: FlexibertGenotype, rng: np.random.Generator, *, rule: str = MUTATION_RULES[0]) -> FlexibertGenotype:
    """Change one field, each field with the same probability, to another of its values.

    Args:
        genotype: the encoder.
        rng: the source of randomness; it advances.
        rule: "field".

    Returns:
        One of the :func:`neighbours`.

    Raises:
        SpaceError: unknown rule.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    choose("mutation rule", rule, MUTATION_RULES, error=SpaceError)
    check_generator(rng)
    changes = _changes(genotype)
    options = changes[int(rng.integers(len(changes)))](rng)
    return options[int(rng.integers(len(options)))]


def neighbours(genotype: FlexibertGenotype) -> tuple[FlexibertGenotype, ...]:
    """Return the encoders that differ in one field: 34 of one with four layers, 2,321 of one with two, which may get any two more."""
    return tuple(itertools.chain.from_iterable(change(None) for change in _changes(genotype)))


def enumerate_all() -> Iterator[FlexibertGenotype]:
    """Yield the 10.6 million encoders in the order of codes."""
    for hidden in HIDDEN:
        for first in itertools.product(LAYERS, repeat=min(DEPTHS)):
            yield FlexibertGenotype(hidden, first)
            for more in itertools.product(LAYERS, repeat=max(DEPTHS) - min(DEPTHS)):
                yield FlexibertGenotype(hidden, (*first, *more))


def canonical(genotype: FlexibertGenotype, *, rule: str = RULES[0]) -> FlexibertGenotype:
    """Return the representative of the encoder's class as trained, or the encoder itself.

    Raises:
        SpaceError: unknown rule.
    """
    choose("canonical rule", rule, RULES, error=SpaceError)
    return genotype if rule == "string" else genotype.as_trained


def _drawn(rng: np.random.Generator) -> FlexibertGenotype:
    hidden, depth = HIDDEN[int(rng.integers(len(HIDDEN)))], DEPTHS[int(rng.integers(len(DEPTHS)))]
    return FlexibertGenotype(hidden, _drawn_layers(rng, depth))


def _drawn_layers(rng: np.random.Generator, count: int) -> tuple[EncoderLayer, ...]:
    return tuple(LAYERS[int(digit)] for digit in rng.integers(len(LAYERS), size=count))


_Change = Callable[[np.random.Generator | None], list[FlexibertGenotype]]
"""The other values of a field, as genotypes; those with drawn layers are one draw, with a generator, or all."""


def _changes(genotype: FlexibertGenotype) -> list[_Change]:
    return [
        lambda rng: [dataclasses.replace(genotype, hidden=hidden) for hidden in HIDDEN if hidden != genotype.hidden],
        lambda rng: _of_other_depth(genotype, rng),
        *(
            lambda rng, place=place, name=name: _with_field(genotype, place, name)
            for place in range(len(genotype.layers))
            for name in FIELDS
        ),
    ]


def _of_other_depth(genotype: FlexibertGenotype, rng: np.random.Generator | None) -> list[FlexibertGenotype]:
    least, most = min(DEPTHS), max(DEPTHS)
    if len(genotype.layers) == most:
        return [dataclasses.replace(genotype, layers=genotype.layers[:least])]
    if rng is not None:
        return [dataclasses.replace(genotype, layers=(*genotype.layers, *_drawn_layers(rng, most - least)))]
    return [dataclasses.replace(genotype, layers=(*genotype.layers, *more)) for more in itertools.product(LAYERS, repeat=most - least)]


def _with_field(genotype: FlexibertGenotype, place: int, name: str) -> list[FlexibertGenotype]:
    layers = genotype.layers
    others = [value for value in FIELDS[name] if value != getattr(layers[place], name)]
    changed = [dataclasses.replace(layers[place], **{name: value}) for value in others]
    return [dataclasses.replace(genotype, layers=(*layers[:place], layer, *layers[place + 1 :])) for layer in changed]


FLEXIBERT: Space[FlexibertGenotype] = Space(
    name="flexibert",
    operations=OPERATIONS,
    num_edges=len(PLACES),
    size=SIZE,
    channels=EMBEDDING,
    cells=max(DEPTHS),
    cells_unit="layers at most",
    named=NAMED,
    mutation_rules=MUTATION_RULES,
    canonical_rules=RULES,
    parse=FlexibertGenotype.parse,
    from_code=FlexibertGenotype.from_code,
    sample=sample,
    mutate=mutate,
    neighbours=neighbours,
    enumerate=enumerate_all,
    canonical=canonical,
    is_dead=lambda genotype: False,  # every layer keeps its input
    parameters=parameters,
    macs=macs,
    networks="jknas.networks.flexibert.network:FlexibertNetwork",
    graph=cell_graphs,
    convolutions=(),
    inputs="tokens",
    from_record=read_record,
)
