import json
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from compiling import quick_jit
from training_stubs import CELL, PlainNetwork, coloured_dataset

from jknas import data
from jknas.errors import GenotypeError, TrainingError
from jknas.files.json_text import export_json
from jknas.networks.nasbench201.network import CellNetwork
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import Recipe, epoch, evaluate, train
from jknas.xla import programs

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05)
OTHERS = (CellGenotype.from_code([1, 1, 1, 1, 1, 1]), CellGenotype.from_code([3, 3, 3, 3, 3, 3]))


def run(**changes):
    arguments = {"network": PlainNetwork(), "genotype": CELL, "dataset": coloured_dataset(), "recipe": RECIPE, "seed": 0} | changes
    return train(arguments.pop("network"), arguments.pop("genotype"), arguments.pop("dataset"), **arguments)


class TestRepeatability:
    def test_one_seed_one_result(self):
        one, two = run(), run()
        assert one.curves == two.curves
        jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)

    def test_another_seed_another_result(self):
        assert run().curves[0] != run(seed=1).curves[0]

    def test_the_order_does_not_depend_on_the_cell(self, monkeypatch):
        keys = []
        original = epoch.train_epoch

        def watched(state, pixels, code, rate, key, *, settings):
            jax.debug.callback(lambda words: keys.append(words.tolist()), jax.random.key_data(key), ordered=True)
            return original(state, pixels, code, rate, key, settings=settings)

        monkeypatch.setattr(epoch, "train_epoch", watched)
        for genotype in (CELL, OTHERS[0]):
            run(genotype=genotype)
        jax.effects_barrier()
        assert keys[:3] == keys[3:]
        assert len({tuple(words) for words in keys}) == 3


class TestRecord:
    def test_curves_are_plain_data(self):
        training = run(splits=("validation", "test", "train"))
        assert training.status == "ok"
        read = json.loads(export_json(training.as_dict()))
        assert [record["epoch"] for record in read["curves"]] == [0, 1, 2]
        np.testing.assert_allclose([record["learning_rate"] for record in read["curves"]], [0.05, 0.0375, 0.0125], rtol=1e-5)
        assert {"train_loss", "train_accuracy", "validation_loss", "test_accuracy", "seconds"} <= read["curves"][-1].keys()
        assert (read["curves"][-1]["validation_n"], read["curves"][-1]["test_n"], read["curves"][-1]["train_n"]) == (13, 9, 22)
        assert training.run_seconds == sum(record["seconds"] for record in read["curves"]) > 0
        assert CellGenotype.parse(read["genotype"]) == CELL

    def test_evaluate_repeats_the_final_numbers(self):
        training = run(splits=("validation", "test"))
        for split in ("validation", "test"):
            scored = evaluate(PlainNetwork(), training.variables, CELL, coloured_dataset(), split)
            final = training.final[split]
            assert (scored.accuracy, scored.n) == (final.accuracy, final.n)
            assert scored.loss == pytest.approx(final.loss, rel=1e-5)

    def test_compilation_is_reported_once(self):
        network = PlainNetwork()
        first = run(network=network, recipe=Recipe(epochs=1, batch_size=7))
        again = run(network=network, recipe=Recipe(epochs=2, batch_size=7, learning_rate=0.2))
        assert first.compile_seconds > 0
        assert again.compile_seconds == 0

    def test_divergence_is_a_status(self):
        seen = []
        training = run(recipe=Recipe(epochs=5, batch_size=8, learning_rate=1e38), on_epoch=seen.append)
        assert training.status == "diverged"
        assert tuple(seen) == training.curves
        assert 1 <= len(training.curves) < 5
        last = training.curves[-1]
        assert not all(map(math.isfinite, (last.train_loss, last.splits["validation"].loss)))
        assert '"nan"' in export_json(training.as_dict()) or '"inf"' in export_json(training.as_dict())


class TestTeaching:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"recipe": "nasbench201-12"}, r"recipe is a str; expected a Recipe: use jknas.training.preset\('nasbench201-12'\)"),
            ({"genotype": str(CELL)}, r"genotype is a str; expected a CellGenotype; parse it first"),
            ({"seed": -1}, r"seed is -1; expected a whole number from 0 to 2\^32 - 1"),
            ({"seed": 0.5}, r"seed is 0.5; expected a whole number"),
            ({"wiring": "mixture"}, r"Unknown wiring 'mixture'; expected one of code, static"),
            ({"splits": "test"}, r"splits is the string 'test'; expected a sequence of names: \('test',\)"),
            ({"splits": ("valid",)}, r"there is no split 'valid'; choose among train, validation, test"),
            ({"network": PlainNetwork(classes=10)}, r"has classes=10, but coloured needs 4: build it with classes=4"),
            ({"network": CellNetwork(classes=4, input_channels=1)}, r"has input_channels=1, but coloured needs 3"),
        ],
    )
    def test_train(self, changes, message):
        with pytest.raises(TrainingError, match=message):
            run(**changes)

    def test_evaluate(self):
        variables = PlainNetwork().init(jax.random.key(0))
        with pytest.raises(TrainingError, match=r"there is no split 'valid'"):
            evaluate(PlainNetwork(), variables, CELL, coloured_dataset(), "valid")
        with pytest.raises(TrainingError, match=r"variables must be \{\"params\": ..., \"batch_stats\": ...\}"):
            evaluate(PlainNetwork(), variables["params"], CELL, coloured_dataset(), "test")
        with pytest.raises(TrainingError, match=r"Unknown precision 'half'; expected one of"):
            evaluate(PlainNetwork(), variables, CELL, coloured_dataset(), "test", precision="half")
        with pytest.raises(GenotypeError):
            CellGenotype.parse("nothing")


class TestCells:
    """The real network on the real digits; 1,000 images in batches of 50 leave no remainder, which halves the compilation."""

    network = CellNetwork(channels=4, cells=1)
    genotypes = (CellGenotype.from_code([1, 2, 0, 3, 4, 1]), *OTHERS)

    @pytest.mark.slow
    def test_one_trace_serves_every_cell_and_cells_learn(self, monkeypatch):
        traces = []
        original = epoch.train_epoch

        def counted(*arguments, settings):
            traces.append(settings.genotype)
            return original(*arguments, settings=settings)

        monkeypatch.setattr(epoch, "train_epoch", counted)
        digits, recipe = data.load("digits"), Recipe(epochs=6, batch_size=50, learning_rate=0.1)
        runs = [train(self.network, genotype, digits, recipe=recipe, seed=0) for genotype in self.genotypes]
        assert traces == [None]
        assert runs[0].compile_seconds > 0
        assert [training.compile_seconds for training in runs[1:]] == [0, 0]
        losses = {training.curves[-1].train_loss for training in runs}
        assert len(losses) == 3
        assert runs[0].final["validation"].accuracy > 0.9
        gentle = Recipe(epochs=1, batch_size=50, learning_rate=0.01)
        code = train(self.network, self.genotypes[0], digits, recipe=gentle, seed=1, wiring="code")
        monkeypatch.setattr(programs, "jax", SimpleNamespace(**{**vars(jax), "jit": quick_jit}))
        static = train(self.network, self.genotypes[0], digits, recipe=gentle, seed=1, wiring="static")
        assert traces == [None, self.genotypes[0]]
        assert static.curves[0].train_loss == pytest.approx(code.curves[0].train_loss, rel=1e-4)
        assert static.final["validation"].loss == pytest.approx(code.final["validation"].loss, rel=1e-3)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), static.variables, code.variables)
