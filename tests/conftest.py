"""Settings of the whole suite: strict dtype promotion, repeatable random numbers, and where the recorded numbers are."""

import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Check the arrays of every function of jknas at each call. The hook reaches only modules that are imported after it, and takes time for
# each function, so that it passes over the modules without array types.
ROOT = Path(__file__).parents[1]
install_import_hook(
    [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in ROOT.glob("jknas/**/*.py")
        if "from jaxtyping" in file.read_text("utf-8")
    ],
    "array_checks.checked",
)

# A silent float32/float64 or integer/float promotion is a bug in a library whose kernels are compared in both precisions.
jax.config.update("jax_numpy_dtype_promotion", "strict")
# A silent promotion of ranks hides a batch that is added to a vector of the same length.
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples in every run, and no deadline: the first example of a test pays for a compilation.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    """Let both workers and the commands that they start share what they compile.

    What your own JAX_COMPILATION_CACHE_DIR holds is used again in the next run.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = tempfile.mkdtemp(prefix="jknas-programs-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name, value in (
        ("jax_compilation_cache_dir", folder),
        ("jax_persistent_cache_min_compile_time_secs", 0.1),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        os.environ[name.upper()] = str(value)  # of the workers and commands; this process has read its own already
        jax.config.update(name, value)


def pytest_collection_modifyitems(items):
    """Begin with the notebooks: no other file takes as long, and one worker would still run it when the other has nothing left."""
    items.sort(key=lambda item: "test_notebook" not in item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Keep tokens of the tests out of the user's own folder of caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JKNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def float64():
    """Run the test with 64-bit types; everywhere else the suite runs with JAX's defaults."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def fixtures_folder():
    """Return the folder of the numbers recorded from PyTorch."""
    return Path(__file__).with_name("recorded")
