"""Sweeps in processes of their own, which tests watch and kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jknas.scoring.store import Store

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "fresh")


def scored(lines: str) -> list[dict[str, Any]]:
    """Return the lines of ``jknas score --json``, without what depends on the run."""
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines.splitlines()]


def kept(path: Path) -> dict[Any, tuple[Any, ...]]:
    """Return the rows of a store by key, times apart; numbers as text, so that NaN equals NaN."""
    with Store.existing(path) as store:
        rows = [(record.key, (record.canonical, repr(record.score), record.status, repr(record.extras))) for record in store.records()]
    assert len(rows) == len(dict(rows))
    return dict(rows)


@dataclass
class Sweep:
    """A command line that scores into a store, and can be killed and started again."""

    arguments: list[str]
    db: Path
    process: Any = None
    kills: dict[str, int] = field(default_factory=lambda: {"driver": 0, "worker": 0})

    @property
    def command(self) -> list[str]:
        return [*self.arguments, "--db", str(self.db), "--json"]

    def start(self) -> None:
        command = [sys.executable, "-m", "jknas.cli", *self.command]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
        environment = os.environ | {"PYTHONPATH": path}
        # Files, not pipes: nobody reads while the sweep runs, and XLA may say more than a pipe holds.
        with self._file("out").open("w") as out, self._file("err").open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)

    def _file(self, kind: str) -> Path:
        return self.db.with_name(f"{self.db.name}.{kind}")

    def workers(self) -> list[int]:
        """Return the process ids of the workers (Linux)."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            return [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        except (FileNotFoundError, ProcessLookupError):
            return []  # it has just ended

    def rows(self) -> int:
        """Return how many scores there are."""
        if not self.db.exists() or not self.db.stat().st_size:
            return 0
        with Store(self.db) as store:
            return len(store)

    def until(self, rows: int) -> bool:
        """Wait until there is so much; return whether the driver still runs."""
        while self.rows() < rows and self.process.poll() is None:
            time.sleep(0.02)
        return self.process.poll() is None

    def kill_worker(self, chance: random.Random) -> None:
        """Kill a worker, if there is one at this moment."""
        if pids := self.workers():
            os.kill(chance.choice(pids), signal.SIGKILL)
            self.kills["worker"] += 1

    def kill(self, what: str, chance: random.Random) -> None:
        """Kill the "driver", or a "worker" as soon as there is one."""
        if what == "driver":
            self.kill_driver()
            return
        while not self.workers():  # it has just been started again
            assert self.process.poll() is None, self._file("err").read_text()
        self.kill_worker(chance)

    def kill_driver(self) -> None:
        """Kill the driver, and start it again."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.kills["driver"] += 1
        self.start()

    def finish(self, seconds: float = 900) -> str:
        """Wait for the end, and return what was printed."""
        assert self.process.wait(timeout=seconds) == 0, self._file("err").read_text()
        return self._file("out").read_text()


class Search(Sweep):
    """A search that can be killed and resumed; ``db`` is its folder, and its rows are its steps."""

    @property
    def command(self) -> list[str]:
        return [*self.arguments, "--out", str(self.db), "--resume"]

    def rows(self) -> int:
        try:
            return json.loads((self.db / "checkpoint" / "state.json").read_text())["steps"]
        except FileNotFoundError:
            return 0
