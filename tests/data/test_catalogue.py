import ast
import contextlib
import dataclasses
import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import python2_batches as made

from jknas import data
from jknas.data import fetching
from jknas.data.cifar import CIFAR10
from jknas.data.files import DataFile


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("JKNAS_DATA", raising=False)


def test_names_are_the_documented_ones():
    assert data.names() == ("digits", "cifar10", "cifar10-full", "cifar100", "imagenet16-120")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("digit", "digits"), ("CIFAR10", "cifar10"), ("cifar-10", "cifar10"), ("cifar_100", "cifar100"), ("imagenet16", "imagenet16")],
)
def test_an_unknown_name_gets_a_suggestion(asked, meant):
    with pytest.raises(data.DataError, match=f"unknown data set '{asked}'. Did you mean '{meant}"):
        data.load(asked)


def test_a_name_unlike_any_other_gets_the_list():
    with pytest.raises(data.DataError, match=r"unknown data set 'zzz'. Expected one of digits, .*, or a path to an .npz file"):
        data.check("zzz")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_missing_archive_says_how_to_get_it(tmp_path, name):
    with pytest.raises(data.DataError, match=f"no data folder is named .*jknas data fetch {name} --folder DIR.*JKNAS_DATA"):
        data.load(name)
    with pytest.raises(data.DataError, match=f"holds no file of it.*jknas data fetch {name} --folder DIR"):
        data.load(name, folder=tmp_path)


@pytest.mark.parametrize("name", [name for name in data.names() if name != "digits"])
def test_every_other_set_says_what_is_missing(tmp_path, name):
    with pytest.raises(data.DataError, match=f"{name}: not found: the folder .* holds no file of it. (Run|Put|Register)"):
        data.load(name, folder=tmp_path)


def test_a_folder_that_is_none_is_refused_by_its_origin(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match=r"folder is .*absent', which is not a folder"):
        data.load("cifar10", folder=tmp_path / "absent")
    monkeypatch.setenv("JKNAS_DATA", str(tmp_path / "gone"))
    with pytest.raises(data.DataError, match=r"the environment variable JKNAS_DATA is .*gone', which is not a folder"):
        data.available()


def test_the_environment_names_the_folder_and_the_argument_wins(tmp_path, monkeypatch):
    made.write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("JKNAS_DATA", str(tmp_path))
    assert data.load("cifar10", verify=False).name == "cifar10"
    with pytest.raises(data.DataError, match="empty holds no file of it"):
        data.load("cifar10", folder=tmp_path / "empty")


def test_available_lists_every_name_with_its_files_or_its_advice(tmp_path):
    archive = made.write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    entries = {entry.name: entry for entry in data.available(tmp_path)}
    assert tuple(entries) == data.names()
    assert (entries["cifar10"].loads_as, entries["cifar10"].files, entries["cifar10"].advice) == ("cifar10", (archive,), "")
    assert entries["digits"].loads_as == "digits"
    assert (entries["cifar10-full"].loads_as, entries["cifar10-full"].files) == ("cifar10-full", (archive,))
    for name in set(data.names()) - {"digits", "cifar10", "cifar10-full"}:
        assert entries[name].loads_as is None
        assert entries[name].advice


def test_check_reports_files_digests_shapes_and_classes(tmp_path):
    report = data.check("digits")
    assert (report.name, report.digest_ok, report.problem) == ("digits", True, None)
    assert report.shapes == {"train": (1000, 8, 8, 3), "validation": (297, 8, 8, 3), "test": (500, 8, 8, 3)}
    assert {split: sum(counts) for split, counts in report.class_counts.items()} == {"train": 1000, "validation": 297, "test": 500}
    assert [(file.path.name, file.digest_ok) for file in report.files] == [("digits.npz", True)]
    assert report.files[0].bytes < 60_000


def test_check_reports_a_wrong_digest_and_damage_without_raising(tmp_path):
    archive = made.write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    report = data.check("cifar10", tmp_path)
    assert (report.digest_ok, report.shapes) == (False, {})
    assert report.problem is not None
    assert "looks truncated" in report.problem
    archive.unlink()
    (tmp_path / "mine.npz").write_bytes(b"nothing")
    report = data.check("mine.npz", tmp_path)
    assert (report.name, report.digest_ok) == ("mine.npz", None)
    assert report.problem is not None
    assert "not an .npz file" in report.problem


@contextlib.contextmanager
def server(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def served(url, path, **changes):
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    archive = DataFile(CIFAR10.archive.path, digest, size=path.stat().st_size)
    return {"cifar10": dataclasses.replace(CIFAR10, url=f"{url}/{path.name}", archive=dataclasses.replace(archive, **changes))}


def test_fetch_downloads_checks_and_does_not_download_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "remote").mkdir()
    original = made.write_cifar10(tmp_path / "remote" / "made.tar.gz")
    with server(tmp_path / "remote") as url:
        monkeypatch.setattr(fetching, "FAMILIES", served(url, original))
        target = data.fetch("cifar10", tmp_path / "new" / "place")
        assert target == tmp_path / "new" / "place" / "cifar-10-python.tar.gz"
        assert target.read_bytes() == original.read_bytes()
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "cifar10" in captured.err
        target.write_bytes(original.read_bytes()[:100])
        data.fetch("cifar10", target.parent, progress=False)
        assert target.read_bytes() == original.read_bytes()
    data.fetch("cifar10", target.parent, progress=False)  # the server is gone: this one needs no download
    assert data.load("cifar10", folder=target.parent, verify=False).name == "cifar10"


def test_fetch_refuses_a_wrong_digest_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "remote").mkdir()
    original = made.write_cifar10(tmp_path / "remote" / "made.tar.gz")
    with server(tmp_path / "remote") as url:
        monkeypatch.setattr(fetching, "FAMILIES", served(url, original, digest="sha256:" + "0" * 64))
        with pytest.raises(data.DataError, match=r"could not get http.*hash.*Check the connection"):
            data.fetch("cifar10", tmp_path / "place", progress=False)
        assert list((tmp_path / "place").iterdir()) == []


def test_fetch_reports_an_absent_file_and_a_dead_server(tmp_path, monkeypatch):
    (tmp_path / "remote").mkdir()
    original = made.write_cifar10(tmp_path / "remote" / "made.tar.gz")
    with server(tmp_path / "remote") as url:
        families = served(url, original)
        original.unlink()
        monkeypatch.setattr(fetching, "FAMILIES", families)
        with pytest.raises(data.DataError, match=r"could not get .*404.*or put cifar-10-python.tar.gz there yourself"):
            data.fetch("cifar10", tmp_path / "place", progress=False)
    with pytest.raises(data.DataError, match=r"could not get .*ConnectionError"):
        data.fetch("cifar10", tmp_path / "place")


def test_fetch_without_a_folder_or_of_what_cannot_be_fetched(tmp_path):
    with pytest.raises(data.DataError, match=r"no folder to put cifar-10-python.tar.gz in.*JKNAS_DATA"):
        data.fetch("cifar10")
    for name in ("digits", "imagenet16-120", "other"):
        listed = "expected one of cifar10, cifar10-full, cifar100"
        with pytest.raises(data.DataError, match=f"'{name}' cannot be downloaded here; {listed}.*image-net.org"):
            data.fetch(name, tmp_path)


def test_the_published_archives_are_named_exactly():
    families = fetching.FAMILIES
    assert {name: family.archive.digest for name, family in families.items()} == {
        "cifar10": "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "cifar10-full": "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "cifar100": "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    }
    for family in families.values():
        assert family.url == f"https://www.cs.toronto.edu/~kriz/{family.archive.path}"


def test_the_data_room_imports_neither_jax_nor_flax():
    for path in Path(data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in {"jax", "jaxlib", "flax"}], path


def test_importing_opens_no_data_file():
    program = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import jknas.data
print([path for path in opened if path.endswith((".npz", ".gz"))])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(data.__file__).parents[2])
    assert result.stdout.strip() == "[]"
