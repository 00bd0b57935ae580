"""Scores that exist only for a pool of architectures: made from the ranks of several proxies among those that were scored.

The aggregate of an architecture changes with the pool, so that it is no :class:`jknas.proxies.Proxy`, has no place in a store, and two
pools' aggregates cannot be compared. Its members are scored as usual, each once.

An aggregate has a name, or is written as an expression over proxies and other aggregates:
``log_rank(jacob_cov,synflow)``, ``two_stage(log_rank(params,jacob_cov),log_rank(synflow,zen),0.3)``. A minus turns a proxy around:
``-mgm`` prefers the small. What has no score ranks last all the same. ``3*meco`` counts a part three times.

>>> get("log_rank(params, vote(synflow, jacob_cov, snip))").members
('params', 'synflow', 'jacob_cov', 'snip')
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jknas import proxies
from jknas.errors import ProxyError, choose
from jknas.ranking.combinations import COMBINATIONS, SHARE, Mask, Scores, best_part, mean_rank, two_stage

KINDS = (*COMBINATIONS, "two_stage")
MOST_TIMES = 100
"""As often as a part of an expression may count."""

_TOKEN = re.compile(r"\s*(-?[A-Za-z_][\w.]*(?::\w+)?|\d*\.?\d+\*?|[(),*])")
_DIGITS = tuple(".0123456789")


@dataclass(frozen=True)
class Combination:
    """A combination of proxies, or of other combinations.

    Attributes:
        kind: "two_stage", or one of :data:`jknas.ranking.combinations.COMBINATIONS`.
        parts: names of proxies, with a minus where the smaller score is meant to be the better one, and combinations; as often as they
            count.
        numbers: further arguments, such as the share of ``two_stage``.
    """

    kind: str
    parts: tuple["str | Combination", ...]
    numbers: tuple[float, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """The proxies that it rests on, each once."""
        names = (name for part in dict.fromkeys(self.parts) for name in _members(part))
        return tuple(dict.fromkeys(names))

    @property
    def share(self) -> float:
        """Of ``two_stage``, the part of the pool that counts as best."""
        return self.numbers[0] if self.numbers else SHARE

    def of(self, scores: Mapping[str, np.ndarray]) -> Scores:
        """Return its value for every architecture of a pool; ``scores`` as for :func:`combine`."""
        if self.kind == "two_stage":
            first, second = self.parts
            return two_stage(_values(first, scores), lambda best: _values(second, _only(scores, best)), self.share)
        values = {part: _values(part, scores) for part in dict.fromkeys(self.parts)}
        return np.asarray(COMBINATIONS[self.kind]([values[part] for part in self.parts]), np.float64)

    def asks_for(self, scores: Mapping[str, np.ndarray], known: Mapping[str, Mask]) -> dict[str, Mask]:
        """Return which scores it needs of which architectures, as far as the known ones tell.

        ``two_stage`` needs its second part for the best of the pool alone, and which these are its first part says: when that is known.

        Args:
            scores: as for :func:`combine`; whatever they are where they are not known.
            known: of each member, for which architectures it is known.
        """
        count = len(next(iter(known.values())))
        found: dict[str, Mask] = {}
        for part in dict.fromkeys(self.parts) if self.kind != "two_stage" else self.parts[:1]:
            asked = {_bare(part): np.ones(count, bool)} if isinstance(part, str) else part.asks_for(scores, known)
            found |= {name: mask | found.get(name, False) for name, mask in asked.items()}
        if self.kind == "two_stage" and not any((mask & ~known[name]).any() for name, mask in found.items()):
            first, second = self.parts
            best = best_part(_values(first, scores), self.share)
            asked = {_bare(second): best[best]} if isinstance(second, str) else second.asks_for(_only(scores, best), _only(known, best))
            for name, mask in asked.items():
                found.setdefault(name, np.zeros(count, bool))[np.flatnonzero(best)[mask]] = True
        return found

    def __str__(self) -> str:
        counted = [(part, 1) for part in self.parts] if self.kind == "two_stage" else Counter(self.parts).items()
        parts = [str(part) if times == 1 else f"{times}*{part}" for part, times in counted]
        return f"{self.kind}({', '.join([*parts, *(np.format_float_positional(number, trim='-') for number in self.numbers)])})"


def _bare(name: str) -> str:
    return name.removeprefix("-")


def _members(part: "str | Combination") -> tuple[str, ...]:
    return (_bare(part),) if isinstance(part, str) else part.members


def _values(part: "str | Combination", scores: Mapping[str, np.ndarray]) -> Scores:
    if isinstance(part, Combination):
        return part.of(scores)
    draws = np.atleast_2d(scores[_bare(part)])
    return mean_rank(list(-draws if part.startswith("-") else draws))


def _only(values: Mapping[str, np.ndarray], places: Mask) -> dict[str, np.ndarray]:
    return {name: column[..., places] for name, column in values.items()}


@dataclass(frozen=True)
class Aggregate:
    """An aggregate that has a name, or that an expression describes.

    Attributes:
        name: what users type.
        combination: how it is made. Call it through :func:`combine`, which checks the scores.
        summary: one line on what it does.
        reference: paper, equation and arXiv id.
    """

    name: str
    combination: Combination
    summary: str = ""
    reference: str = ""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the proxies that it rests on."""
        return self.combination.members


def combine(aggregate: Aggregate, scores: Mapping[str, np.ndarray]) -> Scores:
    """Return an aggregate of a pool.

    An architecture with no score at all (NaN in every member) has none here either: its aggregate is NaN. One that lacks some of them
    stands below every architecture that has them, in those members only.

    Args:
        aggregate: what to compute.
        scores: of each member, one number per architecture ``[n]``, larger is better (turn the sign of a condition number before), NaN
            where the status is not "ok"; or one row per seed ``[s, n]``, whose ranks are averaged in whatever part of the pool is ranked.
            Others than the members may be there.

    Returns:
        One number per architecture, larger is better.

    Raises:
        ProxyError: a member is missing, the members have different lengths, or a score is infinite.
    """
    missing = [name for name in aggregate.members if name not in scores]
    if missing:
        raise ProxyError(
            f"{aggregate.name} needs the scores of {', '.join(aggregate.members)}; {', '.join(missing)} not given: score them too."
        )
    members = {name: np.asarray(scores[name], np.float64) for name in aggregate.members}
    shapes = {name: values.shape for name, values in members.items()}
    if len({shape[-1:] for shape in shapes.values()}) > 1 or any(len(shape) not in {1, 2} for shape in shapes.values()):
        raise ProxyError(
            f"{aggregate.name}: the members have the shapes {shapes}; expected one number an architecture of one pool from each, or one "
            "row of them a seed."
        )
    for name, values in members.items():
        if np.isinf(values).any():
            raise ProxyError(f"{aggregate.name}: a score of {name} is infinite; expected NaN where the status is not 'ok'.")
    unknown = np.all([np.isnan(np.atleast_2d(values)).all(0) for values in members.values()], axis=0)
    return np.where(unknown, np.nan, aggregate.combination.of(members))


def against(aggregate: Aggregate, scores: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Scores:
    """Return the aggregate of each architecture as one of a reference sample: where there is no pool, or one that grows.

    Each architecture joins the sample alone, so that its value does not depend on the others.

    Args:
        aggregate: what to compute.
        scores: of each member, of the architectures; as in :func:`combine`.
        reference: of each member, of a sample that is drawn once, by the same seeds; all of it, also what ranks the best alone.

    Returns:
        The value in the sample of one more architecture. Comparable for one reference only.

    Raises:
        ProxyError: as :func:`combine`.
    """
    count = len(combine(aggregate, scores))
    combine(aggregate, reference)  # refuses what does not fit

    def joined(name: str, place: int) -> np.ndarray:
        return np.concatenate([np.asarray(reference[name]), np.asarray(scores[name])[..., place : place + 1]], axis=-1)

    pools = ({name: joined(name, place) for name in aggregate.members} for place in range(count))
    return np.array([combine(aggregate, pool)[-1] for pool in pools])


def parse(text: str) -> Combination:
    """Read an expression such as ``log_rank(jacob_cov,synflow,meco)``.

    Raises:
        ProxyError: what is not an expression, an unknown proxy or combination, or numbers that the combination does not take.
    """
    tokens, place = [], 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ProxyError(f"{text!r} is no aggregate: {text[place:]!r} cannot be read; write it like log_rank(jacob_cov,synflow).")
        tokens.append(found[1])
        place = found.end()
    reader = iter([*tokens, ""])
    part, after = _part(next(reader), reader, text)
    if isinstance(part, str) or after:
        raise ProxyError(f"{text!r} is no aggregate; write it like log_rank(jacob_cov,synflow), of {', '.join(KINDS)}.")
    return part


def _part(name: str, reader: Iterator[str], text: str) -> tuple["str | Combination", str]:
    """Return one part of an expression, and the token behind it."""
    if name.startswith(_DIGITS):
        raise ProxyError(f"{text!r} is no aggregate: {name} stands where a name is expected; write it like log_rank(jacob_cov,2*synflow).")
    if not name or name in "(),*":
        raise ProxyError(f"{text!r} is no aggregate: a name is missing; write it like log_rank(jacob_cov,synflow).")
    after = next(reader, "")
    if after != "(":
        if name.startswith("-"):
            return "-" + _proxy("proxy behind a minus", name[1:], proxies.names()).name, after
        named = AGGREGATES.get(name)
        return (named.combination if named else _proxy("proxy or aggregate", name, _known()).name), after
    choose("combination", name, KINDS, error=ProxyError)
    parts: list[str | Combination] = []
    numbers: list[float] = []
    while after != ")":
        token = next(reader, "")
        counted = token.startswith(_DIGITS)
        if counted and not token.endswith("*"):
            numbers.append(float(token))
            after = next(reader, "")
        else:
            times = _times(token, name, text) if counted else 1
            part, after = _part(next(reader, "") if counted else token, reader, text)
            parts += [part] * times
        if after not in (",", ")"):
            raise ProxyError(f"{text!r} is no aggregate: a bracket or a comma is missing; write it like log_rank(jacob_cov,synflow).")
    return _checked(Combination(name, tuple(parts), tuple(numbers))), next(reader, "")


def _times(token: str, kind: str, text: str) -> int:
    """Return how often a part counts before which this token stands."""
    digits = token.removesuffix("*")
    if kind == "two_stage":
        raise ProxyError(f"{text!r} is no aggregate: a part of two_stage counts once; write {token}... within a log_rank or a rank_sum.")
    if not digits.isdecimal() or not 1 <= float(digits) <= MOST_TIMES:
        raise ProxyError(f"{text!r} is no aggregate: a part counts {digits} times; expected a whole number from 1 to {MOST_TIMES}.")
    return int(digits)


def _checked(one: Combination) -> Combination:
    """Return a combination that can be computed."""
    if one.kind == "two_stage" and len(one.parts) != 2:
        raise ProxyError(f"two_stage has {len(one.parts)} members; expected two: what ranks the pool, and what ranks its best part.")
    if not one.parts or (one.numbers and (one.kind != "two_stage" or len(one.numbers) > 1)):
        raise ProxyError(f"{one} has {len(one.parts)} parts and {len(one.numbers)} numbers; only two_stage takes a number, its share.")
    if not 0 < one.share <= 1:
        raise ProxyError(f"two_stage: the share is {one.share:g}; expected the part of the pool to order anew, above 0 and at most 1.")
    return one


def _proxy(kind: str, name: str, known: tuple[str, ...]) -> proxies.Proxy:
    """Return a proxy by a name that is known, or by ``module:NAME``."""
    found = proxies.get(name if ":" in name else choose(kind, name, known, error=ProxyError))
    if found.name in AGGREGATES:
        raise ProxyError(f"the proxy {name!r} is called {found.name!r}, like an aggregate: give it another name.")
    return found


def _known() -> tuple[str, ...]:
    return (*proxies.names(), *sorted(AGGREGATES))


AGGREGATES: dict[str, Aggregate] = {}
"""Every aggregate that has a name."""

for _name, _expression, _summary, _reference in (
    (
        "az_nas",
        "log_rank(macs,az_expressivity,az_progressivity,az_trainability)",
        "sum of the logarithms of the relative ranks of complexity, expressivity, progressivity and trainability",
        "Lee and Ham, AZ-NAS, CVPR 2024, arXiv:2403.19232, section 3. Deviations: none; equal scores share their mean rank, as in the "
        "released code.",
    ),
    (
        "tenas_rank_sum",
        "rank_sum(tenas_condition,linear_regions)",
        "sum of the ranks of the NTK's condition number and of the number of linear regions",
        "Chen, Gong and Wang, TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.3. Deviations: the paper ranks operations to prune, this "
        "ranks architectures; equal scores share their mean rank.",
    ),
    (
        "vkdnw_agg",
        "log_rank(vkdnw,jacob_cov,az_expressivity,az_trainability,macs)",
        "sum of the logarithms of the relative ranks of VKDNW, jacob_cov, expressivity, trainability and complexity",
        "Tybl and Neumann, VKDNW, CVPR 2025, arXiv:2502.04975, section 4. Deviations: jacob_cov has the initialisation that is asked for, "
        "where the released code takes He-normal weights and augmented images; equal scores share their mean rank in every member, where "
        "it gives VKDNW dense ranks.",
    ),
    (
        "vote",
        "vote(synflow,jacob_cov,snip)",
        "how many architectures of the pool it beats minus how many beat it, by majority of three proxies",
        "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, arXiv:2101.08134, section 3.3. Deviations: the paper "
        "reports how often the majority orders a pair rightly; the count of pairs won makes a score of it.",
    ),
    (
        "consensus",
        "two_stage("
        "two_stage("
        "two_stage(log_rank(3*jacob_cov,synflow,3*near),log_rank(jacob_cov,2*meco,zen),0.7),"
        "log_rank(jacob_cov,3*synflow,3*meco,zen,-mgm),0.4),"
        "log_rank(synflow,zen),0.005)",
        "the recommended ranking: what Jacobian, flow and effective ranks agree on; in its better parts, where size counts, feature "
        "correlation, zen score and small MGM have a say, and flow and zen score order the very best",
        "of this package; members: arXiv:2006.04647v1, arXiv:2006.05467, arXiv:2408.08776, arXiv:2102.01063, arXiv:2111.13293; MeCo, "
        "NeurIPS 2023.",
    ),
    (
        "consensus_light",
        "two_stage("
        "two_stage("
        "two_stage(log_rank(meco,2*near),log_rank(3*meco,near),0.6),"
        "log_rank(jacob_cov,3*synflow,3*meco,zen,-mgm),0.25),"
        "log_rank(synflow,zen),0.005)",
        "consensus for less than half of its cost: effective ranks and feature correlation choose the best quarter, which alone needs "
        "backward passes",
        "of this package; members: as of consensus, arXiv:2408.08776 and others.",
    ),
):
    AGGREGATES[_name] = Aggregate(_name, parse(_expression), _summary, _reference)


def names() -> tuple[str, ...]:
    """Return the names of all aggregates, sorted."""
    return tuple(sorted(AGGREGATES))


def ranking(name: str) -> proxies.Proxy | Aggregate:
    """Return the proxy or the aggregate of a name, or the aggregate of an expression.

    Raises:
        ProxyError: neither a proxy nor an aggregate has that name, or an expression that cannot be read.
    """
    if "(" in name or name in AGGREGATES:
        return get(name)
    return _proxy("proxy or aggregate", name, _known())


def get(name: str) -> Aggregate:
    """Return an aggregate by its name or expression.

    Raises:
        ProxyError: for an unknown name, with the known ones, or what cannot be read.
    """
    if "(" in name:
        return Aggregate(name, parse(name))
    return AGGREGATES[choose("aggregate", name, names(), error=ProxyError)]
