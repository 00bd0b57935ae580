import pytest

from jknas.errors import SearchError
from jknas.files.atomic import write_atomically


def test_a_file_is_replaced_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "result.json"
    for content in ("first, with ü", b"\x00second"):
        assert write_atomically(path, content, error=SearchError) == path
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [found.name for found in path.parent.iterdir()] == ["result.json"]


def test_a_file_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match=r"cannot write the checkpoint .*state \(.*\): free space, or make .*file a writable folder\.$"):
        write_atomically(tmp_path / "file" / "state", "x", error=SearchError, what="the checkpoint")
    (tmp_path / "taken").mkdir()
    for folder in (tmp_path / "taken", tmp_path / "."):
        with pytest.raises(SearchError, match=r"cannot write a file in place of the folder .*: give the name of a file"):
            write_atomically(folder, "x", error=SearchError)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "taken"]
