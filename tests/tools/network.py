"""Free ports, and a private network in which programs that bind every interface may run."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.request import urlopen

from tests.tools.waiting import wait_until

T = TypeVar("T")

CLONE_NEWNET = 0x40000000


def free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def stop(process: subprocess.Popen[Any], timeout: float = 20) -> int:
    """SIGTERM, then SIGKILL if that is not enough; the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class Namespace:
    """A network namespace with nothing but a loopback interface. Needs root, as every test run here does.

    Programs enter it with :meth:`popen` and :meth:`run`; code of the test itself with
    :meth:`call`, and whatever threads and sockets that code makes stay inside.
    They end with the test run, also when that is killed.
    """

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[Any]] = []
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec setpriv --pdeathsig KILL sleep inf"],
            stdout=subprocess.PIPE, text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "up\n":
            raise RuntimeError("no network namespace could be made: run the tests as root, in a machine that allows it")
        self._inside = ThreadPoolExecutor(1, "namespace", self._enter)

    def _enter(self) -> None:
        descriptor = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run ``function`` on a thread of the namespace; its sockets and threads belong there."""
        return self._inside.submit(function, *arguments).result()

    def get(self, url: str, timeout: float = 10) -> bytes:
        """Body of an HTTP GET made inside. Raises URLError."""
        return self.call(_body, url, timeout)

    def popen(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside; it is killed when the test run dies, and stopped by :meth:`close`."""
        process = subprocess.Popen([*self._prefix(), *map(str, command)], **options)
        self._children.append(process)
        return process

    def run(self, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end; AssertionError with its output when it fails."""
        done = subprocess.run(
            [*self._prefix(), *map(str, command)], check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}"
        return done

    def wait_for_port(self, port: int, process: subprocess.Popen[Any], timeout: float = 60) -> None:
        """Until something listens on ``port`` inside; AssertionError when ``process`` ended before."""

        def listening() -> bool:
            assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
            return self.call(accepts, port)

        wait_until(listening, timeout, f"a listener on port {port}")

    def _prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "setpriv", "--pdeathsig", "KILL")

    def close(self) -> None:
        """Stop what still runs inside and give the namespace up."""
        for process in reversed(self._children):
            stop(process)
        self._inside.shutdown()
        self._holder.send_signal(signal.SIGKILL)
        self._holder.communicate()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _body(url: str, timeout: float) -> bytes:
    with urlopen(url, timeout=timeout) as response:
        body: bytes = response.read()
        return body


def post(url: str, body: bytes, timeout: float = 60) -> bytes:
    """Body of the answer to an HTTP POST. Raises URLError."""
    with urlopen(url, data=body, timeout=timeout) as response:
        said: bytes = response.read()
        return said
