"""Spaces of skip-connection encoders of one depth: their members are the different wirings.

Names that mean one wiring are one member; :func:`~jknas.spaces.space.Space.parse` reads all of them. Of the 15 names of the paper's three
families with cells of 2 to 6 layers, 9 wirings are different in an encoder of 6 layers, the ordinary encoder included; of the 30 at 24
layers, 28.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import SupportsIndex

import numpy as np

from jknas.errors import GenotypeError, SpaceError, check_count, choose
from jknas.spaces.code import read_digits
from jknas.spaces.sampling import check_generator, sampler
from jknas.spaces.skip_transformer.cost import STEMS, macs, parameters
from jknas.spaces.skip_transformer.genotype import FAMILIES, OPERATIONS, SkipGenotype, all_names, edges
from jknas.spaces.skip_transformer.graph import cell_graphs
from jknas.spaces.space import Space

RULES = ("function", "string")
MUTATION_RULES = ("family_or_size",)

PAPER = FAMILIES[:4]
"""The families of KNAS, and the ordinary encoder."""

Wirings = Mapping[tuple[int, ...], tuple[SkipGenotype, ...]]
"""By code, the names of a wiring, the preferred one first; in the order of codes."""


def skip_space(*, layers: int, families: Iterable[str] = PAPER, name: str | None = None) -> Space[SkipGenotype]:
    """Make the space of encoders of a depth.

    Args:
        layers: depth, L.
        families: some of :data:`~jknas.spaces.skip_transformer.genotype.FAMILIES`; the ordinary encoder is always a member.
        name: of the space; ``skip_transformer`` and the depth by default.

    Returns:
        The space. ``mutate`` draws one of the ``neighbours`` uniformly: the wirings that have a name with another family or another cell
        size (not both) than one of the genotype's names. ``canonical`` with the rule "function" returns the preferred name of a wiring,
        that of the first family, then that of the smallest cells; with "string" every name stays.

    Raises:
        SpaceError: an unknown family, or a depth that is not 1 or more.

    >>> space = skip_space(layers=24)
    >>> space.size, str(space.canonical(space.parse("look_ahead:2")))
    (28, 'plain')
    """
    check_count("layers", layers, error=SpaceError)
    chosen = dict.fromkeys(("plain", *(choose("family", family, FAMILIES, error=SpaceError) for family in families)))
    wirings = _wirings(all_names(layers, chosen))
    members = tuple(names[0] for names in wirings.values())

    def parse(text: str) -> SkipGenotype:
        genotype = SkipGenotype.parse(text, layers=layers)
        if genotype.code not in wirings:
            raise GenotypeError(f"{genotype} is not in this space, whose families are {', '.join(chosen)}.")
        return genotype

    def from_code(code: Iterable[SupportsIndex]) -> SkipGenotype:
        places = tuple(f"edge {layer}<-{source}" for layer, source in edges(layers))
        expected = f"expected {len(places)} digits 0 or 1, one for each layer and each source before it"
        digits = read_digits(code, places=places, operations=OPERATIONS, expected=expected, parser="the space's parse", error=GenotypeError)
        if digits not in wirings:
            raise GenotypeError(
                f"the code is a wiring of none of the families {', '.join(chosen)} in {layers} layers: give the code of one."
            )
        return wirings[digits][0]

    def canonical(genotype: SkipGenotype, *, rule: str = "function") -> SkipGenotype:
        choose("canonical rule", rule, RULES, error=SpaceError)
        return genotype if rule == "string" else from_code(genotype.code)

    def neighbours(genotype: SkipGenotype) -> tuple[SkipGenotype, ...]:
        own = wirings[from_code(genotype.code).code]
        return tuple(names[0] for names in wirings.values() if names is not own and any(_one_step(a, b) for a in own for b in names))

    def mutate(genotype: SkipGenotype, rng: np.random.Generator, *, rule: str = MUTATION_RULES[0]) -> SkipGenotype:
        choose("mutation rule", rule, MUTATION_RULES, error=SpaceError)
        check_generator(rng)
        near = neighbours(genotype)
        if not near:
            raise SpaceError(f"{genotype} is the only wiring of {layers} layers: take a deeper encoder.")
        return near[int(rng.integers(len(near)))]

    def enumerate_all() -> Iterator[SkipGenotype]:
        return iter(members)

    return Space(
        name=f"skip_transformer{layers}" if name is None else name,
        operations=OPERATIONS,
        num_edges=len(edges(layers)),
        size=len(members),
        cells=layers,
        cells_unit="layers",
        named=MappingProxyType({"plain": SkipGenotype("plain", 1, layers)}),
        mutation_rules=MUTATION_RULES,
        canonical_rules=RULES,
        parse=parse,
        from_code=from_code,
        sample=sampler(len(members), members.__getitem__),
        mutate=mutate,
        neighbours=neighbours,
        enumerate=enumerate_all,
        canonical=canonical,
        is_dead=lambda genotype: False,  # every layer reads an earlier one
        parameters=parameters,
        macs=macs,
        networks="jknas.networks.skip_transformer.network:SkipTransformerNetwork",
        stems=STEMS,
        graph=cell_graphs,
        convolutions=(),
        inputs="tokens",
    )


def _wirings(names: tuple[SkipGenotype, ...]) -> Wirings:
    found: dict[tuple[int, ...], tuple[SkipGenotype, ...]] = {}
    for genotype in names:
        found[genotype.code] = (*found.get(genotype.code, ()), genotype)
    return dict(sorted(found.items()))


def _one_step(one: SkipGenotype, other: SkipGenotype) -> bool:
    """Whether two names differ in the family or in the size, not in both; the ordinary encoder is one step from cells of two layers."""
    if "plain" in (one.family, other.family):
        return max(one.size, other.size) == 2
    return (one.family == other.family) != (one.size == other.size)


SIX_LAYERS = skip_space(layers=6, families=FAMILIES, name="skip_transformer")
"""The space for encoders of six layers, such as MiniLM-L6. Six layers have two or three cells, so that ``densenet`` alone adds a single
connection, in ``densenet:2``; therefore ``densenet+emb`` is a family here."""

ROBERTA_LARGE = skip_space(layers=24)
"""The paper's space, in the 24 layers of RoBERTa-large: ``--space jknas.spaces.skip_transformer:ROBERTA_LARGE``."""
