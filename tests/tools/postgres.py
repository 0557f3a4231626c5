"""A private PostgreSQL server for one test run."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.tools.network import free_port
from tests.tools.waiting import wait_until

SYSTEM_USER = "postgres"
"""Account made by Debian's package; the server refuses to run as root."""


class Cluster:
    """A server on a Unix socket and a loopback port. Flushing is off: it never survives its test run."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg-{os.getpid()}-"))  # whose it is, in case it is left over
        self.port = free_port()
        self._numbers = itertools.count(1)
        if os.getuid() == 0:
            shutil.chown(self.folder, SYSTEM_USER)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._server = subprocess.Popen([
            *_as_postgres(), _program("postgres"), "-D", self._data, "-k", str(self.folder), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "shared_buffers=32MB",
            "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
        ], stdout=subprocess.DEVNULL, stderr=(self.folder / "server.log").open("wb"))
        wait_until(self._answers, 60, f"PostgreSQL, see {self.folder}/server.log")

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database for as long as the context lasts; its URL, reached by the Unix socket.

        A socket file is found from inside a network namespace too, which a port is not.
        """
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        yield f"postgresql://postgres@/{name}?host={self.folder}&port={self.port}"
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """Disconnect everybody, end the server and remove its files."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(30)
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([*_as_postgres(), _program(program), *arguments], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), port=self.port, user="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        assert self._server.poll() is None, (self.folder / "server.log").read_text()
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _as_postgres() -> tuple[str, ...]:
    """Prefix that leaves root, keeps the process id, and ends the program with the test run.

    Changing the user clears a parent-death signal, so it is set after that.
    """
    leave = ("setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--init-groups") if os.getuid() == 0 else ()
    return (*leave, "setpriv", "--pdeathsig", "INT")


def _program(name: str) -> str:
    """Path of a server program: Debian keeps them off the search path, by version."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = str(places[-1]) if places else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: run scripts/install-test-peers")
    return found
