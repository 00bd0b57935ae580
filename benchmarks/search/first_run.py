"""Does the README's first command find a good cell on the embedded digits, and how long does it take?

Question: 100 sampled NAS-Bench-201 cells ranked by the consensus, the best five trained for 12 epochs: accuracy of the cell that wins by
validation accuracy, and seconds. Wanted: 97 % test accuracy within four minutes on two CPU cores.
Command: python -m benchmarks.search.first_run [--seeds 0 1 2] [--known RUN/result.json ...]
``--known`` takes the results of searches that already ran with the same command. Three and a half minutes per seed on two CPU cores.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

from benchmarks import measure

COMMAND = "search --method knas --space nasbench201 --data digits --samples 100 --topk 5 --epochs 12 --workers 2"


def summary(found: dict) -> dict:
    """Return what the table shows of one ``result.json``."""
    rank = found["null_model"]
    kept = ("seed", "genotype", "parameters", "validation_accuracy", "test_accuracy", "seconds", "timing")
    return {**{name: found[name] for name in kept}, "null_model": rank}


def main() -> None:
    """Search and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--known", type=pathlib.Path, nargs="*", default=[])
    options = parser.parse_args()
    runs = [summary(json.loads(path.read_text())) for path in options.known]
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(sys.executable).with_name("jknas")
            subprocess.run([program, *shlex.split(COMMAND), "--seed", str(seed), "--out", folder], check=True)
            runs.append(summary(json.loads(pathlib.Path(folder, "result.json").read_text())))
    runs.sort(key=lambda run: run["seed"])
    question = "accuracy and seconds of the first command"
    measure.record("search/first_run", {"question": question, "command": f"jknas {COMMAND}", "runs": runs})


if __name__ == "__main__":
    main()
