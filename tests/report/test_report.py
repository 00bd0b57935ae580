"""The room's public names: each is what its module defines, and no module is hidden by a function of its name."""

import importlib
import pkgutil

import pytest

from jknas import report


@pytest.mark.parametrize("name", report.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    found = getattr(report, name)
    assert getattr(importlib.import_module(found.__module__), name) is found
    assert found.__module__.startswith("jknas.report.")


def test_no_module_is_hidden():
    assert not {module.name for module in pkgutil.iter_modules(report.__path__)} & set(report.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"'jknas\.report' has no attribute 'draw'; its public names are Panel, as_csv"):
        report.draw  # noqa: B018
