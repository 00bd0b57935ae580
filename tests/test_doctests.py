"""The examples in the docstrings are run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import jknas


def modules_with_examples():
    for module in pkgutil.walk_packages(jknas.__path__, "jknas."):
        source = module.module_finder.find_spec(module.name).loader.get_source(module.name)
        if ">>> " in source:
            yield module.name


MODULES = sorted(modules_with_examples())


def test_the_modules_with_examples_are_found():
    assert {"jknas.spaces.nasbench201.genotype", "jknas.kernels.mgm", "jknas.ranking.metrics", "jknas.proxies", "jknas.search"} <= set(
        MODULES
    )


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, capsys):
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module)
    assert failed == 0, capsys.readouterr().out
    assert attempted > 0
