"""``transformers serve`` with one checkpoint, on a free loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.tools.network import free_port, stop
from tests.tools.waiting import wait_until


@contextmanager
def serving(checkpoint: Path, folder: Path) -> Iterator[str]:
    """The URL to configure. ``folder`` takes its log and an empty hub cache, so that it reaches for no network."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(checkpoint), "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    (folder / "hub").mkdir()
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log)

    def healthy() -> bool:
        assert process.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(healthy, 90, "transformers serve is up")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop(process)
