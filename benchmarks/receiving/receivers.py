"""Who receives: DCMTK's storescp, Orthanc, pynetdicom's storescp, and ours with each engine, each as it comes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from node import __version__
from node.config import Config

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05

STORESCP, ORTHANC, PYNETDICOM = "storescp", "Orthanc", "pynetdicom app"
ENGINES = ("standard", "fast")


class NotReceived(Exception):
    """A run that says nothing about speed: something failed or was not stored as sent."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A program to be started in a folder of its own.

    ``prepare(folder, port)`` writes what it needs into the folder and returns the command; ``stored`` is where
    its instances lie below the folder. Of ours also the engine, and where the rows are.
    """

    name: str
    version: str
    prepare: Callable[[Path, int], Sequence[str]]
    stored: str
    engine: str = ""
    database: str = ""

    @property
    def ours(self) -> bool:
        return bool(self.engine)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A receiver that answers C-ECHO."""

    receiver: Receiver
    folder: Path
    port: int
    pid: int

    @property
    def stored(self) -> Path:
        return self.folder / self.receiver.stored

    @property
    def log(self) -> Path:
        return self.folder / "log"


def find(names: Sequence[str], work: Path) -> tuple[list[Receiver], list[str]]:
    """The receivers of this machine, and a line for each that is left out. No name at all means every one."""
    found: list[Receiver] = []
    left_out: list[str] = []
    for receiver in (_storescp(), _orthanc(), _pynetdicom(), *(ours(engine, work) for engine in ENGINES)):
        if isinstance(receiver, str):
            left_out.append(receiver)
        elif not names or receiver.name in names:
            found.append(receiver)
    return found, left_out


def ours(engine: str, work: Path) -> Receiver | str:
    """The receiver role with one engine. Every start gets a copy of one migrated database, not one made anew."""
    try:
        Config(receive={"engine": engine})
    except ValidationError as error:
        return f"ours {engine}: left out, {error.errors()[0]['msg']}"
    empty = _migrated(work / "migrated")

    def prepare(folder: Path, port: int) -> Sequence[str]:
        shutil.copytree(empty, folder / "data")
        config = write_config(folder, port, engine)
        return [sys.executable, "-m", "node", "run", "--role", "receiver", "--config", str(config)]

    return Receiver(name=f"ours {engine}", version=__version__, prepare=prepare,
                    stored="data/instances", engine=engine, database="data/node.sqlite")


def write_config(folder: Path, port: int, engine: str = "standard", **sections: Any) -> Path:
    """Settings of a node of ours in ``folder``, all others at their defaults."""
    values: dict[str, Any] = {
        "node": {"port": port, "data_dir": "data"}, "receive": {"engine": engine, "min_free_disk_mb": 100}}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values | sections), encoding="utf-8")
    return config


def _migrated(folder: Path) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "node", "migrate", "--config", str(write_config(folder, 0))],
                       check=True, capture_output=True)
        for leftover in folder.glob("data/*.lock"):
            leftover.unlink()
    return folder / "data"


def _storescp() -> Receiver | str:
    if shutil.which("storescp") is None:
        return f"{STORESCP}: left out, DCMTK is not installed"

    def prepare(folder: Path, port: int) -> Sequence[str]:
        (folder / "stored").mkdir()
        return ["storescp", "-od", str(folder / "stored"), str(port)]

    return Receiver(name=STORESCP, version=_said("storescp", "--version"), prepare=prepare, stored="stored")


def _orthanc() -> Receiver | str:
    if shutil.which("Orthanc") is None:
        return f"{ORTHANC}: left out, it is not installed"

    def prepare(folder: Path, port: int) -> Sequence[str]:
        config = folder / "orthanc.json"
        config.write_text(json.dumps({
            "DicomPort": port, "DicomCheckCalledAet": False, "StorageDirectory": str(folder / "stored"),
            "IndexDirectory": str(folder / "index"), "HttpServerEnabled": False, "Plugins": []}), encoding="ascii")
        return ["Orthanc", str(config)]

    return Receiver(name=ORTHANC, version=_said("Orthanc", "--version"), prepare=prepare, stored="stored")


def _pynetdicom() -> Receiver:
    def prepare(folder: Path, port: int) -> Sequence[str]:
        (folder / "stored").mkdir()
        return [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder / "stored")]

    return Receiver(name=PYNETDICOM, version=version("pynetdicom"), prepare=prepare, stored="stored")


def _said(*command: str) -> str:
    """The first version number a program prints about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else "?"


@contextmanager
def running(receiver: Receiver, folder: Path, *, nodelay: bool) -> Iterator[Running]:
    """The receiver in the new ``folder`` while the block lasts. ``nodelay`` counts for DCMTK and Orthanc.

    Raises:
        NotReceived: it did not begin to answer C-ECHO.
    """
    folder.mkdir(parents=True)
    port = free_port()
    command = receiver.prepare(folder, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(nodelay))
    started = Running(receiver=receiver, folder=folder, port=port, pid=process.pid)
    try:
        _wait_for_echo(started, process)
        yield started
    finally:
        stop(process)


def environment(nodelay: bool) -> dict[str, str]:
    """Of receivers and senders: DCMTK leaves Nagle's algorithm on unless TCP_NODELAY is 1."""
    clean = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return clean | ({"TCP_NODELAY": "1"} if nodelay else {})


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL when that is not enough."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for_echo(started: Running, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _listens(started.port) or not _echoes(started.port):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = started.log.read_text(errors="replace")[-1000:]
            raise NotReceived(f"{started.receiver.name} did not start; the end of its log:\n{tail}")
        time.sleep(POLL_SECONDS)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


def _echoes(port: int) -> bool:
    done = subprocess.run(["echoscu", "-to", "2", "-ta", "5", HOST, str(port)], capture_output=True, check=False,
                          env=environment(True))
    return done.returncode == 0
