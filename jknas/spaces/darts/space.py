"""The DARTS space: a normal and a reduction cell, eight inputs each, about 1.1e18 genotypes.

Each of a cell's nodes 2..5 has two different earlier nodes as inputs, each through one of seven operations: 180 choices of sources times
7^8 of operations for a cell, and the square of that for a genotype. The members are the integer codes; a genotype that ``sample``,
``mutate``, ``neighbours`` or ``enumerate`` returns lists the two inputs of a node in the order of their sources.

References:
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055.
    Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search", arXiv:1802.01548 (mutation).
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product
from math import prod

import numpy as np

from jknas.errors import SpaceError, choose
from jknas.spaces.darts.cost import macs, parameters
from jknas.spaces.darts.genotype import EDGES, NAMED, NODES, OPERATIONS, DartsGenotype, Pair
from jknas.spaces.darts.graph import cell_graphs
from jknas.spaces.pruning import PruningPlan
from jknas.spaces.sampling import check_generator, sampler
from jknas.spaces.space import Space

MUTATION_RULES = ("operation_or_source", "operation")
RULES = ("function", "string")

Inputs = tuple[Pair, Pair]

_LIVE = OPERATIONS[1:]  # a genotype never names "none"


def _choices(node: int) -> tuple[Inputs, ...]:
    """Everything that the inputs of a node can be, in the order of codes."""
    found = []
    for first, second in combinations(range(node), 2):
        found += [((one, first), (other, second)) for one, other in product(_LIVE, repeat=2)]

    def digits(inputs: Inputs) -> list[int]:
        placed = {source: OPERATIONS.index(name) for name, source in inputs}
        return [placed.get(source, 0) for source in range(node)]

    return tuple(sorted(found, key=digits))


_CHOICES = tuple(_choices(node) for node in NODES) * 2  # of the nodes of the normal cell, then of the reduction cell
SIZE = prod(map(len, _CHOICES))


def enumerate_genotypes() -> Iterator[DartsGenotype]:
    """Yield all members in the order of their codes, one at a time; there are 1,076,746,950,455,072,400 of them: take a slice."""
    return map(_from_inputs, product(*_CHOICES))


def neighbours(genotype: DartsGenotype) -> tuple[DartsGenotype, ...]:
    """Return the 120 members that differ from this one in one input of one node.

    Args:
        genotype: the genotype.

    Returns:
        The neighbours: the 96 with another operation at one of the 16 inputs, then the 24 with another source at one input.
    """
    pairs = _pairs(genotype)
    return tuple(
        _with_pair(pairs, place, pair)
        for options in (_other_operations, _other_sources)
        for place in range(16)
        for pair in options(pairs, place)
    )


def mutate(genotype: DartsGenotype, rng: np.random.Generator, *, rule: str = "operation_or_source") -> DartsGenotype:
    """Replace the operation or the source of one random input of a node.

    Args:
        genotype: the genotype.
        rng: the source of randomness; it advances.
        rule: "operation_or_source", the two mutations of regularised evolution, each with probability 1/2: another operation for one of
            the 16 inputs, or another source for one of the 12 inputs of the nodes 3, 4, 5 (node 2 has no choice of sources). "operation":
            the first of the two always. The input is drawn uniformly, and then what replaces it.

    Returns:
        A genotype with one input replaced, the inputs of each node in the order of their sources.

    Deviations:
        The paper has a third mutation, no change, with probability 0.05; this one always changes the genotype. In the paper's space both
        inputs of a node may have the same source, not here.

    Raises:
        SpaceError: unknown rule.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    choose("mutation rule", rule, MUTATION_RULES, error=SpaceError)
    check_generator(rng)
    pairs = _pairs(genotype)
    options = _other_sources if rule == "operation_or_source" and rng.integers(2) else _other_operations
    places = [place for place in range(16) if options(pairs, place)]
    place = places[int(rng.integers(len(places)))]
    candidates = options(pairs, place)
    return _with_pair(pairs, place, candidates[int(rng.integers(len(candidates)))])


def canonical(genotype: DartsGenotype, *, rule: str = "function") -> DartsGenotype:
    """Return the representative of a genotype's class, the member with the smallest code.

    Idempotent, and equal for two genotypes exactly when the rule calls them equal.

    Args:
        genotype: the genotype.
        rule: "string": genotypes with the same code are equal, so only the order in which a node's inputs are listed is forgotten.
            "function": genotypes that a renaming of the nodes 2..5 of either cell makes equal, as well. A renaming permutes the
            four blocks of channels of the concatenation, and nothing else: what reads it is the 1x1 convolution at the start of a
            following cell or the linear layer, which compute the same with their weights permuted alike. So the two
            networks compute the same functions, each with its own parameters. Genotypes that compute the same for other reasons
            (two pools in a row, a skip connection that repeats an input) stay different.

    Returns:
        The representative, the inputs of each node in the order of their sources.

    Raises:
        SpaceError: unknown rule.
    """
    choose("canonical rule", rule, RULES, error=SpaceError)
    code = genotype.code
    if rule == "function":
        code = (*_smallest(code[: len(EDGES)]), *_smallest(code[len(EDGES) :]))
    return DartsGenotype.from_code(code)


def _smallest(digits: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest code of a cell under the renamings of its nodes that keep sources before nodes."""
    live = {edge: digit for edge, digit in zip(EDGES, digits, strict=True) if digit}
    codes = []
    for order in permutations(NODES):
        name = {0: 0, 1: 1} | dict(zip(NODES, order, strict=True))
        renamed = {(name[node], name[source]): digit for (node, source), digit in live.items()}
        if renamed.keys() <= set(EDGES):
            codes.append(tuple(renamed.get(edge, 0) for edge in EDGES))
    return min(codes)


def _pairs(genotype: DartsGenotype) -> tuple[Pair, ...]:
    """The 16 inputs of the nodes of both cells, those of a node in the order of their sources."""
    ordered = DartsGenotype.from_code(genotype.code)
    return ordered.normal + ordered.reduce


def _other_operations(pairs: tuple[Pair, ...], place: int) -> list[Pair]:
    current, source = pairs[place]
    return [(name, source) for name in _LIVE if name != current]


def _other_sources(pairs: tuple[Pair, ...], place: int) -> list[Pair]:
    node = NODES[place % 8 // 2]
    taken = {pairs[place][1], pairs[place ^ 1][1]}  # the two inputs of a node are neighbours; the first has an even place
    return [(pairs[place][0], source) for source in range(node) if source not in taken]


def _with_pair(pairs: tuple[Pair, ...], place: int, pair: Pair) -> DartsGenotype:
    changed = (*pairs[:place], pair, *pairs[place + 1 :])
    genotype = DartsGenotype(changed[:8], changed[8:])
    return DartsGenotype.from_code(genotype.code)


def _from_inputs(inputs: tuple[Inputs, ...]) -> DartsGenotype:
    return DartsGenotype(sum(inputs[:4], ()), sum(inputs[4:], ()))


def _at_rank(rank: int) -> DartsGenotype:
    """The member at a place in the order of codes."""
    places = np.unravel_index(rank, [len(choices) for choices in _CHOICES])
    return _from_inputs(tuple(choices[place] for choices, place in zip(_CHOICES, places, strict=True)))


def _pruning() -> PruningPlan:
    """Which edges a supernet of the space has, and that each node keeps two of them."""
    names = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    cells = (tuple(range(len(EDGES))), tuple(range(len(EDGES), 2 * len(EDGES))))
    return PruningPlan(
        cells=cells,
        order=tuple(OPERATIONS.index(name) for name in names),
        absent=0,
        absent_competes=False,
        kept=tuple(tuple(tuple(edge for edge, end in zip(cell, EDGES, strict=True) if end[0] == node) for node in NODES) for cell in cells),
        pruned=3,
        genotype=lambda code: DartsGenotype.from_code([max(digit, 0) for digit in code]),
    )


DARTS: Space[DartsGenotype] = Space(
    name="darts",
    operations=OPERATIONS,
    num_edges=2 * len(EDGES),
    size=SIZE,
    cells=8,
    named=NAMED,
    mutation_rules=MUTATION_RULES,
    canonical_rules=RULES,
    parse=DartsGenotype.parse,
    from_code=DartsGenotype.from_code,
    sample=sampler(SIZE, _at_rank),
    mutate=mutate,
    neighbours=neighbours,
    enumerate=enumerate_genotypes,
    canonical=canonical,
    is_dead=lambda genotype: False,  # every node has two inputs, and none of them is "none"
    parameters=parameters,
    macs=macs,
    pruning=_pruning(),
    networks="jknas.networks.darts.network:DartsNetwork",
    graph=cell_graphs,
    convolutions=("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
