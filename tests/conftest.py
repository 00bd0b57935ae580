"""Settings of the whole suite: strict dtype promotion, repeatable random numbers, and where the recorded numbers lie."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings

# A silent float32/float64 or integer/float promotion is a bug in a library whose kernels are compared in both precisions.
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The same examples in every run, and no deadline: the first example of a test pays for a compilation.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


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
    """Folder of the numbers recorded from PyTorch: JKNAS_FIXTURES, else the folder ``fixtures`` beside the folder JKNAS_DATA."""
    named, data = os.environ.get("JKNAS_FIXTURES"), os.environ.get("JKNAS_DATA")
    if not named and not data:
        pytest.skip("neither JKNAS_FIXTURES nor JKNAS_DATA is set; the recorded PyTorch numbers are looked for there")
    folder = Path(named) if named else Path(data).parent / "fixtures"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not a folder; set JKNAS_FIXTURES to the one with the recorded PyTorch numbers")
    return folder
