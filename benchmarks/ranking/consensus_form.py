"""Which forms of `consensus` and `consensus_light` rank best where they may be chosen?

Question: which combination of `jacob_cov`, `synflow`, `meco`, `near`, `zen` and small `mgm` orders the cells of NAS-Bench-201 best, seen on
the CIFAR-10 accuracies of the cells of even index and the scores of one seed alone. What the form is worth elsewhere (cells of odd index,
other data sets, other seeds) is what `whole_space.py` reports.

Forms: four stages. Each orders the best part of what the one before it ordered anew, among itself, by a product of relative ranks with
weights 0..3. The last two stages of both aggregates, which order the best, are those that the same rule chose before `near` was at hand;
the first two, without `mgm`, and the shares of the second and third are chosen here. `free` chooses all four stages, with `mgm` in all but
the first: `whole_space.py` shows it among the rivals. It orders the whole space better, but the best tenth worse wherever it was not
chosen, which is why the last stages stay.

There are more forms than can be tried: a form is improved by the best change of one weight or share until none helps, then a few of them
are changed at random, and so on; several times from random forms.

Rule: the largest sum of Spearman, Kendall, nDCG@1000 and Spearman in the top tenth, less the regret of the ten best, each in units of its
standard error over resampled cells: a plain sum follows the measure that is the noisiest. `consensus_light` may cost 0.39 seconds a cell,
about 25 minutes of two cores for the whole space. What a score costs is the shortest of the medians that the file has of its seeds, since
they were computed beside other work. `free` takes the form that costs least of those within one standard error of its best.

The families and the rule were drawn up when the figures of earlier forms on all cells and data sets were known; the choice among the forms
was made by what is named above alone.

Command: python -m benchmarks.ranking.consensus_form [--scores whole_space_scores.csv.gz]
About ten minutes on a quiet core. Writes consensus_form.json.
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks import measure
from benchmarks.ranking.whole_space import MEASURES, Cells
from jknas.ranking import aggregates, metrics
from jknas.ranking.combinations import ranks, two_stage
from jknas.scoring.score_table import ScoreTable, read_scores
from jknas.spaces.nasbench201.index import index_of

SCORES = ("jacob_cov", "synflow", "meco", "near", "zen", "-mgm")
MOST = 3
STARTS, ROUNDS, CHANGED = 5, 10, 4
FINALISTS = 2000
RESAMPLES = 200
YARDSTICK = "two_stage(log_rank(jacob_cov,synflow,meco),log_rank(synflow,zen),0.2)"
"""The form whose standard errors are the units."""

REGRET = "regret@10"
SLOW = "kendall_tau_b"
Stage = tuple[tuple[int, ...], float]
Form = tuple[Stage, ...]


class Family(NamedTuple):
    """Forms that are compared; where an aggregate has the name of the family, its form is the best of them.

    Attributes:
        shares: those that the second, the third and the fourth stage may have.
        fixed: weights of stages, by place, that do not change.
        without: how many of the first stages do without the slowest score.
        seconds: what the scores may cost, a cell.
    """

    shares: tuple[tuple[float, ...], ...]
    fixed: Mapping[int, tuple[int, ...]] = {}
    without: int = 1
    seconds: float = math.inf


LAST = {2: (1, 3, 3, 0, 1, 1), 3: (0, 1, 0, 0, 1, 0)}
"""The weights of the stages that order the best, as they were chosen before `near` was at hand."""

_SHARES = ((0.5, 0.6, 0.7, 0.8, 0.9), (0.2, 0.25, 0.3, 0.4), (0.005,))
FAMILIES = {
    "consensus": Family(_SHARES, LAST, without=2),
    "consensus_light": Family(_SHARES, LAST, without=2, seconds=0.39),
    "free": Family(((0.4, 0.5, 0.6, 0.7, 0.8), (0.2, 0.25, 0.3, 0.35, 0.4, 0.5), (0.02, 0.05, 0.1, 0.15, 0.2, 0.25))),
}


def text_of(form: Form) -> str:
    """Return a form as an expression."""
    text = ""
    for weights, share in form:
        counted = [(name, times // math.gcd(*weights)) for name, times in zip(SCORES, weights, strict=True) if times]
        parts = (name if times == 1 else f"{times}*{name}" for name, times in counted)
        product = f"log_rank({','.join(parts)})"
        text = f"two_stage({text},{product},{share})" if text else product
    return text


def cost_of(table: ScoreTable) -> np.ndarray:
    """Return the seconds that each score takes, the shortest median of its seeds."""
    names, columns = [name.removeprefix("-") for name in SCORES], table.facts["columns"]
    return np.array([min(columns[f"{name}:{seed}"]["median_seconds"] for seed in table.seeds(name)) for name in names])


def measured(values: np.ndarray, accuracies: np.ndarray, *, without: str | None = None) -> dict[str, float]:
    """Return what the rule adds up, as it is, or all of it but one measure."""
    found = {name: of(values, accuracies).value for name, of in MEASURES.items() if name != without}
    return found | {REGRET: -metrics.regret(values, accuracies, 10).value}


def resampled(values: np.ndarray, accuracies: np.ndarray) -> list[dict[str, float]]:
    """Return the measures on cells that are drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(values), len(values)) for _ in range(RESAMPLES))
    return [measured(values[places], accuracies[places]) for places in draws]


def merit(found: dict[str, float], units: dict[str, float]) -> float:
    """Return the sum of measures in their units."""
    return sum(value / units[name] for name, value in found.items())


@dataclasses.dataclass
class Trial:
    """What judges forms, and remembers those that it has seen.

    Attributes:
        scores: of every cell, larger is better.
        accuracies: of every cell.
        units: standard errors of the measures.
        costs: seconds a cell of every score.
        family: the forms that are compared.
        merits: of every form that was tried, without the measure that is slow.
    """

    scores: dict[str, np.ndarray]
    accuracies: np.ndarray
    units: dict[str, float]
    costs: np.ndarray
    family: Family
    merits: dict[Form, float] = dataclasses.field(default_factory=dict)
    _stages: dict[Form, np.ndarray] = dataclasses.field(default_factory=dict)
    _logs: dict[bytes, np.ndarray] = dataclasses.field(default_factory=dict)

    def values(self, form: Form) -> np.ndarray:
        """Return the ranks by a form."""
        if form not in self._stages:
            (weights, share), before = form[-1], form[:-1]
            if before:
                first = self.values(before)
                found = two_stage(first, lambda best: np.asarray(weights) @ self._relative(best), share)
            else:
                found = ranks(np.asarray(weights) @ self._relative(np.ones(len(self.accuracies), bool)))
            if len(form) == len(self.family.shares) + 1:
                return found
            self._stages[form] = found
        return self._stages[form]

    def _relative(self, best: np.ndarray) -> np.ndarray:
        """Return the logarithms of the relative ranks in a part of the cells, one row a score."""
        if best.tobytes() not in self._logs:
            rows = [np.log(ranks(self.scores[name][best]) / best.sum()) for name in SCORES]
            self._logs[best.tobytes()] = np.stack(rows)
        return self._logs[best.tobytes()]

    def seconds(self, form: Form) -> float:
        """Return what the scores of a form cost a cell: each is asked for the part of the cells that its first stage orders."""
        shares = [max((share for weights, share in form if weights[at]), default=0.0) for at in range(len(SCORES))]
        return float(np.dot(shares, self.costs))

    def drawn(self, rng: np.random.Generator) -> Form:
        """Return a random form."""
        shares, fixed = self.family.shares, self.family.fixed
        while True:
            weights = [tuple(rng.integers(0, MOST + 1, len(SCORES)).tolist()) for _ in range(len(shares) + 1)]
            weights = [fixed.get(place, (*one[:-1], 0) if place < self.family.without else one) for place, one in enumerate(weights)]
            form = tuple(zip(weights, (1.0, *(float(rng.choice(one)) for one in shares)), strict=True))
            if self.allowed(form):
                return form

    def allowed(self, form: Form) -> bool:
        """Return whether every stage ranks by something that it may have, each less than the one before it, at a cost that is allowed."""
        ordered = all(any(weights) for weights, _ in form) and all(one[1] > next_one[1] for one, next_one in itertools.pairwise(form))
        light = not any(weights[-1] for weights, _ in form[: self.family.without])
        return ordered and light and self.seconds(form) <= self.family.seconds

    def changes(self, form: Form) -> Iterator[Form]:
        """Yield the forms that differ in one weight or one share."""
        for place, (weights, share) in enumerate(form):
            stages = [(*weights[:at], value, *weights[at + 1 :]) for at in range(len(SCORES)) for value in range(MOST + 1)]
            stages = [] if place in self.family.fixed else stages
            shares = self.family.shares[place - 1] if place else ()
            for stage in (*((one, share) for one in stages), *((weights, one) for one in shares)):
                if stage != form[place] and self.allowed(changed := (*form[:place], stage, *form[place + 1 :])):
                    yield changed

    def shaken(self, form: Form, rng: np.random.Generator) -> Form:
        """Return a form with some changes that nobody asked whether they help."""
        for _ in range(CHANGED):
            found = list(self.changes(form))
            form = found[rng.integers(len(found))]
        return form

    def merit(self, form: Form) -> float:
        """Return what a form is worth."""
        if form not in self.merits:
            self.merits[form] = merit(measured(self.values(form), self.accuracies, without=SLOW), self.units)
        return self.merits[form]

    def climb(self, form: Form) -> Form:
        """Change a form by what helps most, until nothing does."""
        self._logs.clear()
        self._stages.clear()
        while (best := max(self.changes(form), key=self.merit)) and self.merit(best) > self.merit(form):
            form = best
        return form


def main() -> None:
    """Compare forms, choose and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=pathlib.Path, default=measure.RESULTS / "ranking/whole_space_scores.csv.gz")
    table = read_scores(parser.parse_args().scores)
    cells = Cells(table, lambda genotype: index_of(genotype) % 2 == 0, (0,))
    scores, accuracies = cells.scores[0], cells.accuracies["cifar10"]
    draws = resampled(cells.ranked(YARDSTICK, 0), accuracies)
    units = {name: float(np.std([draw[name] for draw in draws])) for name in draws[0]}
    signed, costs = {**scores, "-mgm": -scores["mgm"]}, cost_of(table)

    def chosen(name: str, family: Family) -> dict[str, Any]:
        """Search, choose and say what was found."""
        trial, rng = Trial(signed, accuracies, units, costs, family), np.random.default_rng(0)
        for start in range(STARTS):
            form = trial.climb(trial.drawn(rng))
            for _ in range(ROUNDS):
                form = max(form, trial.climb(trial.shaken(form, rng)), key=trial.merit)
            print(f"{name} {start}: {trial.merit(form):.2f}, {len(trial.merits)} forms, {text_of(form)}", flush=True)
        listed: list[dict[str, Any]] = []
        for form in sorted(trial.merits, key=trial.merit, reverse=True)[:FINALISTS]:
            found = measured(cells.ranked(text_of(form), 0), accuracies)
            row = {"form": text_of(form), "merit": merit(found, units), "seconds": trial.seconds(form)}
            listed.append({**row, **found, REGRET: -found[REGRET]})
        listed.sort(key=lambda row: -row["merit"])
        error = float(np.std([merit(draw, units) for draw in resampled(cells.ranked(listed[0]["form"], 0), accuracies)]))
        close = [row for row in listed if row["merit"] >= listed[0]["merit"] - error]
        named = name in aggregates.AGGREGATES
        best = listed[0] if named else min(close, key=lambda row: (row["seconds"], -row["merit"]))
        print("chosen:", best, flush=True)
        agrees = str(aggregates.parse(best["form"])) == str(aggregates.get(name).combination) if named else None
        if named:
            print("which is" if agrees else "which is not", "the form of", name, flush=True)
        return {
            "forms": len(trial.merits),
            "standard_error_of_the_best": error,
            "within_it": len(close),
            "chosen": best,
            "chosen_is_the_aggregate": agrees,
            "rows": listed[:20],
        }

    facts = {
        "question": "which forms rank best where they may be chosen",
        "rule": "largest sum of the measures in units of their standard errors; free: within one standard error, the one that costs least",
        "seen": "CIFAR-10 test accuracy of the cells of even index, scores of one seed",
        "finalists": FINALISTS,
        "standard_errors": units,
        "seconds_a_cell": dict(zip(SCORES, costs.tolist(), strict=True)),
        **{name: chosen(name, family) for name, family in FAMILIES.items()},
    }
    measure.record("ranking/consensus_form", facts)


if __name__ == "__main__":
    main()
