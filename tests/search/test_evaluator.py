import own_space
import search_stubs as stubs

from jknas.search import ahead
from jknas.search.evaluator import TrainingEvaluator
from jknas.spaces import edge_space
from jknas.spaces.nasbench201.genotype import CellGenotype


def test_only_folders_of_other_genotypes_are_removed(tmp_path):
    kept = CellGenotype.parse(stubs.RESNET)
    mine = {"".join(map(str, genotype.code)) for genotype in (kept, CellGenotype.parse(stubs.DEAD))}
    for name in (*mine, *(f"{name}-12" for name in mine), "notes", "2026", "2026-12", "111111-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    (tmp_path / "111111").write_text("a file")
    TrainingEvaluator(stubs.problem(), folder=tmp_path).keep_only(kept)
    assert {place.name for place in tmp_path.iterdir()} == {
        "".join(map(str, kept.code)),
        "notes",
        "2026",
        "2026-12",
        "111111-old",
        "111111",
    }


def test_numbers_of_two_digits_do_not_run_together(tmp_path):
    names = tuple(f"op{number}" for number in range(12))
    space = edge_space(name="wide", operations=names, num_edges=2, networks=own_space.ChainNetwork, parameters=len, macs=len)
    problem = stubs.problem(space=space, network=own_space.ChainNetwork(4, 1), measured=None)
    answers = TrainingEvaluator(problem, folder=tmp_path)
    first, second = (space.from_code(code) for code in ((11, 0), (1, 10)))
    assert [answers._place(genotype).name for genotype in (first, second)] == ["1100", "0110"]
    for genotype in (first, second):
        answers._place(genotype).mkdir()
    answers.keep_only(second)
    assert [place.name for place in tmp_path.iterdir()] == ["0110"]


def test_a_shorter_training_has_a_folder_of_its_own_and_leaves_no_variables(tmp_path, monkeypatch):
    asked = []

    def train(network, genotype, dataset, *, recipe, seed, checkpoint, **options):
        asked.append((recipe.epochs, checkpoint.name))
        return stubs.training(genotype, recipe, seed)

    monkeypatch.setattr(ahead, "train", train)
    genotype, problem = CellGenotype.parse(stubs.RESNET), stubs.problem()
    answers = TrainingEvaluator(problem, folder=tmp_path)
    answers.train(genotype, epochs=1)
    assert answers._variables == {}
    answers.train(genotype, epochs=problem.recipe.epochs)
    assert answers.variables(genotype) is answers._variables[genotype]
    answers.train(genotype)
    code = "".join(map(str, genotype.code))
    assert asked == [(1, f"{code}-1"), (2, code), (2, code)]
