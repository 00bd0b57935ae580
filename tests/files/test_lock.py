import os
import signal
import subprocess
import sys

import pytest

from jknas.errors import CheckpointError, SearchError
from jknas.files.lock import sole_user

HOLD = """
import sys, time
from pathlib import Path
from jknas.errors import SearchError
from jknas.files.lock import sole_user
with sole_user(Path(sys.argv[1]), error=SearchError):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_has_one_user_at_a_time(tmp_path):
    folder = tmp_path / "new" / "search"
    with sole_user(folder, error=SearchError):
        refusal = pytest.raises(CheckpointError, match=r"another process works in the folder .*search: wait until it ends, or give another")
        with refusal, sole_user(folder, error=CheckpointError):
            pytest.fail("two users")
        with sole_user(tmp_path / "other", error=SearchError):
            pass
    with sole_user(folder, error=SearchError):
        pass


def test_a_killed_process_holds_no_folder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SearchError, match="another process works in"), sole_user(tmp_path, error=SearchError):
            pytest.fail("two users")
        os.kill(other.pid, signal.SIGKILL)
    with sole_user(tmp_path, error=SearchError):
        pass


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(RuntimeError), sole_user(tmp_path, error=SearchError):
        raise RuntimeError
    with sole_user(tmp_path, error=SearchError):
        pass


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refusal = pytest.raises(SearchError, match=r"cannot write the folder .*file \(.*\): give a folder that is writable")
    with refusal, sole_user(tmp_path / "file", error=SearchError):
        pytest.fail("a file")
