"""A node of its own in a folder: free loopback ports, its own database, processes that end with the caller."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from node.domain import JSON
from node.errors import ConfigurationError

START_SECONDS = 120.0
STOP_SECONDS = 25.0


@dataclass(frozen=True, kw_only=True)
class LocalNode:
    """Where the pieces are. ``web`` is the base URL of pages and API."""

    folder: Path
    config: Path
    port: int
    web: str

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @contextmanager
    def running(self) -> Iterator[None]:
        """``ainode run`` while the block lasts, ready when it begins.

        Raises:
            ConfigurationError: it did not become ready; the message ends with its log.
        """
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "node", "run", "--config", str(self.config), "--parent", str(os.getpid())]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                self._wait_ready(process)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def get(self, path: str) -> JSON | None:
        """What the API answers, or None when it does not answer with success."""
        try:
            with urllib.request.urlopen(f"{self.web}{path}", timeout=10) as answer:
                return dict(json.load(answer))
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def worklist(self) -> list[JSON]:
        """The entries in worklist order; none while the node does not answer."""
        answer = self.get("/api/worklist")
        return list(answer["entries"]) if answer else []

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.get("/readyz") is None:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise ConfigurationError(f"the node did not become ready; the end of its log:\n{tail}")
            time.sleep(0.2)


def prepare(folder: Path, base: Path | None, sections: Mapping[str, Mapping[str, Any]], destinations: Any) -> LocalNode:
    """Write ``config.yaml`` into ``folder``: the settings of ``base``, then ``sections`` over them, on free ports."""
    values: dict[str, Any] = (yaml.safe_load(base.read_text(encoding="utf-8")) or {}) if base else {}
    port, web_port = free_port(), free_port()
    own: dict[str, Mapping[str, Any]] = {
        "node": {"host": "127.0.0.1", "port": port, "data_dir": str(folder / "node")},
        "database": {"url": f"sqlite:///{folder / 'node.sqlite'}"},
        "web": {"host": "127.0.0.1", "port": web_port},
    }
    for name, section in (*sections.items(), *own.items()):
        values[name] = {**values.get(name, {}), **section}
    values["destinations"] = destinations
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    return LocalNode(folder=folder, config=config, port=port, web=f"http://127.0.0.1:{web_port}")


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
