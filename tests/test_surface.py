import importlib
import os
import re
import subprocess
import sys

import pytest

import jknas
from jknas.cli import COMMANDS


def test_every_public_name_is_there():
    assert sorted(jknas.__all__) == sorted(set(jknas.__all__))
    assert all(getattr(jknas, name) is not None for name in jknas.__all__)
    assert set(jknas.__all__) <= set(dir(jknas))


def test_the_surface_is_this_one():
    assert set(jknas.__all__) == {
        *("CellGenotype", "CellNetwork", "DartsGenotype", "Dataset", "FlaxNetwork", "Problem", "Recipe", "Store", "TiledGram"),
        *("gradient_products", "gram_diagonal", "sketched_gram"),
        *("KernelHistory", "KernelRecorder", "__version__", "draw_kernel", "draw_kernel_training"),
        *("gp_posterior", "gradient_flow", "linearize", "logdet_estimate", "nngp", "ntk_operator", "trace_estimate"),
        *("evaluate", "gram", "linear_regions", "load", "make_scorer", "mgm", "mgm_layerwise", "ntk_coupled", "run_search"),
        *("score_many", "score_together", "spectrum", "tiled_gram", "train"),
    }  # fmt: skip
    assert callable(jknas.mgm)
    assert callable(jknas.train)


def test_functions_of_kernels_are_names_of_their_package():
    from jknas.kernels import gradient_products, predict, sketched_gram

    assert gradient_products is jknas.gradient_products
    assert sketched_gram is jknas.sketched_gram
    assert predict.gradient_flow is jknas.gradient_flow
    with pytest.raises(AttributeError, match="no module or function 'gramm'"):
        jknas.kernels.gramm  # noqa: B018 - the look-up is the test


def test_a_subpackage_is_imported_when_it_is_named():
    code = "import sys, jknas; assert 'jknas.proxies' not in sys.modules; assert 'mgm' in jknas.proxies.names()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'mgn'; its public names are"):
        _ = jknas.mgn


_IMPORTS = """
import sys
opened = []
sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
import jknas
from jknas.cli import COMMANDS
jknas_opened = [path for path in opened if not path.isdigit() and not path.endswith(".py") and ".pyc" not in path]
imported = {"jax", "matplotlib", "ray", "pyarrow"} & set(sys.modules)
assert not imported, f"import jknas imported {imported}"
assert not jknas_opened, jknas_opened
import jax
flags = dict(jax.config.values)
for name in set(jknas.__all__) - {"__version__"}:
    getattr(jknas, name)
import jknas.cli, jknas.command_line.score, jknas.search, jknas.kernels.mgm
changed = {name for name, value in jax.config.values.items() if name in flags and flags[name] != value}
assert not changed, changed
"""


def test_importing_starts_no_backend_reads_nothing_and_sets_no_flag():
    # A platform that does not exist: starting a backend would fail.
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        capture_output=True, text=True, timeout=120, check=False, env={"JAX_PLATFORMS": "nowhere", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_help_imports_no_jax():
    lines = ["import sys", "from jknas.cli import COMMANDS, run"]
    # The list of the commands is there at once: it takes no library of numbers, and no command.
    lines += ["assert run(['--help']) == 0", "assert not {'numpy', 'jknas.search', 'jknas.proxies'} & set(sys.modules)"]
    lines += ["for name in COMMANDS: assert run([name, '--help']) == 0, name"]
    code = "\n".join([*lines, "assert not {'jax', 'matplotlib', 'ray'} & set(sys.modules)"])
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=wide)
    assert done.returncode == 0, done.stderr
    assert all(f"Usage: jknas {name}" in done.stdout for name in COMMANDS)
    # Rich would take brackets for markup, and leave them out.
    assert {"[in this process]", "jknas[minilm]"} <= set(re.findall(r"\[in this process\]|jknas\[minilm\]", done.stdout))


def test_every_command_is_listed_by_its_own_words():
    for name, line in COMMANDS.items():
        module = importlib.import_module(f"jknas.command_line.{name}")
        own = module.app.info.help if hasattr(module, "app") else module.command.__doc__
        assert line.split(";")[0].split(",")[0].rstrip(".") in own.replace("\n", " "), (name, own)
