"""The whole program under test: ``ainode run`` as real processes, with a configuration and data of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import sqlalchemy as sa
import yaml

from node.database import audit_event, connect
from tests.tools.network import Namespace, accepts, free_port, stop
from tests.tools.waiting import wait_until

JSON = dict[str, Any]

ROOT = Path(__file__).parents[2]
AE_TITLE = "AINODE"
INCARNATION = "acceptance"
START_SECONDS = 120
"""Loading the models takes most of it, on a machine with other work."""
COMMAND_SECONDS = 280
"""The demo, which is the longest, gives up by itself before."""


class RunningNode:
    """A node in ``folder``, on SQLite unless ``database_url`` says otherwise, inside ``namespace`` if given.

    ``sections`` are those of the configuration; the rest is chosen so that a test waits for nothing.
    """

    def __init__(
        self, folder: Path, database_url: str = "", *, namespace: Namespace | None = None, **sections: Any
    ) -> None:
        self.folder, self.namespace = folder, namespace
        folder.mkdir(parents=True, exist_ok=True)
        self.database_url = database_url or f"sqlite:///{folder / 'node.sqlite'}"
        self.port, self.web_port = free_port(), free_port()
        self.config = folder / "config.yaml"
        self.log = folder / "node.log"
        self.data_dir = folder / "data"
        self._write(sections)
        self._processes: dict[str, subprocess.Popen[Any]] = {}
        self._engine: sa.Engine | None = None

    def _write(self, sections: Mapping[str, Any]) -> None:
        values: JSON = {
            "node": {"ae_title": AE_TITLE, "port": self.port, "data_dir": str(self.data_dir)},
            "database": {"url": self.database_url},
            "web": {"port": self.web_port},
            "study": {"quiet_seconds": 0.5},
            "receive": {"min_free_disk_mb": 100},
            "delivery": {"retry_seconds": [0.5, 1, 2, 4], "commitment_timeout_seconds": 5},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")

    # Processes.

    def start(self) -> RunningNode:
        """``ainode run``, and wait until it is ready."""
        self._processes["node"] = self._popen("run")
        wait_until(self._ready, START_SECONDS, f"the node to be ready, see {self.log}")
        return self

    def start_role(self, role: str) -> None:
        """``ainode run --role``; does not wait."""
        self._processes[role] = self._popen("run", "--role", role, "--incarnation", INCARNATION)

    def wait_for_role(self, role: str) -> None:
        """Until the process of a role that was started alone says it is ready."""
        process = self._processes[role]

        def ready() -> bool:
            assert process.poll() is None, f"{role} ended with {process.returncode}, see {self.log}"
            try:
                return bool(self.rows("SELECT 1 FROM role_status WHERE pid = :pid AND ready", pid=process.pid))
            except sa.exc.DBAPIError:  # it has not made its tables yet
                return False

        wait_until(ready, START_SECONDS, f"{role} to be ready, see {self.log}")

    def kill_role(self, role: str) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        process = self._processes[role]
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL

    def stop(self) -> None:
        """SIGTERM to everything at once; whatever the exit status."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            stop(process)
        if self._engine is not None:
            self._engine.dispose()

    def ainode(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A command of the CLI with this node's configuration, run to its end."""
        process = self._start(self._command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=COMMAND_SECONDS)
        finally:
            stop(process)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def _popen(self, *arguments: str) -> subprocess.Popen[Any]:
        with self.log.open("ab") as log:
            return self._start(self._command(*arguments), stdout=log, stderr=log)

    def _command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "node", *map(str, arguments), "--config", str(self.config)]

    def _start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        options |= {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
        if self.namespace is not None:
            return self.namespace.popen(command, **options)
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], **options)

    def _ready(self) -> bool:
        process = self._processes["node"]
        assert process.poll() is None, f"the node ended with {process.returncode}, see {self.log}"
        try:
            self.get("/readyz")
        except (URLError, ConnectionError, TimeoutError):
            return False
        return True

    # What it says.

    def get(self, path: str) -> bytes:
        """Body of an HTTP GET. Raises URLError."""
        url = f"http://127.0.0.1:{self.web_port}{path}"
        if self.namespace is not None:
            return self.namespace.get(url)
        with urlopen(url, timeout=10) as response:
            body: bytes = response.read()
            return body

    def worklist(self) -> dict[str, JSON]:
        """Entries of ``GET /api/worklist`` by Study Instance UID, in its order."""
        entries = json.loads(self.get("/api/worklist"))["entries"]
        return {entry["study_instance_uid"]: entry for entry in entries}

    def wait_for_studies(self, wanted: Mapping[str, Mapping[str, Any]], timeout: float = 120) -> dict[str, JSON]:
        """Until the entry of every study has the given values; the worklist then."""

        def all_there() -> dict[str, JSON]:
            entries = self.worklist()
            found = all(
                uid in entries and values.items() <= entries[uid].items() for uid, values in wanted.items())
            return entries if found else {}

        try:
            return wait_until(all_there, timeout)
        except AssertionError as error:
            said = {uid: {key: entry[key] for key in ("state", "reason", "report_state", "delivery", "version")}
                    for uid, entry in self.worklist().items() if uid in wanted}
            raise AssertionError(f"{error}; the worklist says {said}; see {self.log}") from error

    def rows(self, query: str, **values: Any) -> Sequence[Any]:
        """Rows of the node's database."""
        if self._engine is None:
            self._engine = connect(self.database_url)
        with self._engine.connect() as connection:
            return connection.execute(sa.text(query), values).all()

    def actions(self, study_instance_uid: str = "") -> list[str]:
        """Audit actions, of one study or of all."""
        where = audit_event.c.study_instance_uid == study_instance_uid if study_instance_uid else sa.true()
        if self._engine is None:
            self._engine = connect(self.database_url)
        with self._engine.connect() as connection:
            return list(connection.scalars(
                sa.select(audit_event.c.action).where(where).order_by(audit_event.c.at, audit_event.c.seq)))

    def listens(self) -> bool:
        """Whether somebody answers on the DICOM port."""
        if self.namespace is not None:
            return self.namespace.call(accepts, self.port)
        return accepts(self.port)

    def __enter__(self) -> RunningNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
