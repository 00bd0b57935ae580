import search_stubs as stubs

from jknas.search.evaluator import TrainingEvaluator
from jknas.spaces.nasbench201.genotype import CellGenotype


def test_only_folders_of_other_genotypes_are_removed(tmp_path):
    kept = CellGenotype.parse(stubs.RESNET)
    mine = {"".join(map(str, genotype.code)) for genotype in (kept, CellGenotype.parse(stubs.DEAD))}
    for name in (*mine, "notes", "2026"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    (tmp_path / "111111").write_text("a file")
    TrainingEvaluator(stubs.problem(), folder=tmp_path).keep_only(kept)
    assert {place.name for place in tmp_path.iterdir()} == {"".join(map(str, kept.code)), "notes", "2026", "111111"}
