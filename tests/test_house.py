"""The order of the house: which room may import which, how large files and rooms are, and that every module can be reached by its name."""

import ast
import importlib
import pkgutil
import types
from pathlib import Path

import pytest

import jknas

LAYERS = (
    "errors",
    "registry",
    "files",
    "workers",
    "xla",
    "spaces",
    "kernels",
    "data",
    "networks",
    "training",
    "tabular",
    "proxies",
    "scoring",
    "ranking",
    "search",
    "report",
    "command_line",
    "cli",
)
"""The rooms from the bottom to the top: each imports itself and what comes before it."""

ROOT = Path(jknas.__file__).parent
FILES = {".".join(("jknas", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path for path in ROOT.rglob("*.py")}


def imports(module):
    """Return the package's modules that a module imports, also inside functions, each with the lines where it does."""
    path, found = FILES[module], {}
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" if f"{start}.{alias.name}" in FILES else start for alias in node.names]
        else:
            continue
        for name in names:
            if name in FILES and name != module:
                found.setdefault(name, []).append(node.lineno)
    return found


IMPORTS = {module: imports(module) for module in FILES}


def room(module):
    return module.split(".")[1]


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"jknas"}))
def test_a_room_imports_only_rooms_below_it(module):
    allowed = {"jknas", *(f"jknas.{name}" for name in LAYERS[: LAYERS.index(room(module)) + 1])}
    above = {name: lines for name, lines in IMPORTS[module].items() if name not in allowed and f"jknas.{room(name)}" not in allowed}
    assert not above, f"{module} imports {above}, but the rooms are built in the order {', '.join(LAYERS)}"


def test_every_room_has_its_place():
    assert {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} == {"__init__", *LAYERS}


def test_no_import_circle():
    """A package's ``__init__`` runs before its modules, but it is there for them: only its own imports count for it."""
    done, path = set(), []

    def visit(module):
        assert module not in path, f"import circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in done:
            return
        path.append(module)
        for name in IMPORTS[module]:
            visit(name)
        path.pop()
        done.add(module)

    for module in sorted(FILES):
        visit(module)


def test_the_package_has_at_most_20_entries():
    entries = [path.name for path in ROOT.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20, sorted(entries)


def test_no_file_has_more_than_400_lines():
    lengths = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("package", sorted(module for module, path in FILES.items() if path.name == "__init__.py"))
def test_no_module_is_hidden_by_a_name_of_its_package(package):
    """``jknas.kernels.gram`` is the module: with the function of that name in its place, no reader finds the module's text."""
    home = importlib.import_module(package)
    for name in (info.name for info in pkgutil.iter_modules(home.__path__)):
        importlib.import_module(f"{package}.{name}")
        assert isinstance(getattr(home, name), types.ModuleType), f"{package} exports a {name} that hides its module {package}.{name}"
