"""What a thread that serves an association waits with: timers, and a bell for other threads."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress

from pynetdicom.timer import Timer


class SteadyTimer(Timer):  # type: ignore[misc]
    """A pynetdicom timer that does not look at the wall clock: setting that ends no association and keeps none."""

    def start(self) -> None:
        """Run from now on."""
        self._start_time: float | None = time.monotonic()

    def stop(self) -> None:
        """Run no more."""
        self._start_time = None

    @property
    def remaining(self) -> float:
        """Seconds until it expires; infinite while it does not run."""
        if self.timeout is None or self._start_time is None:
            return math.inf
        return float(self.timeout) - (time.monotonic() - self._start_time)


class Wakeup:
    """Ends a ``poll`` from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.descriptor = -1

    def open(self) -> int:
        """Be ready to ring; what to poll for reading."""
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self.descriptor

    def ring(self) -> None:
        """Wake whoever polls, or is about to."""
        with self._lock:
            if self.descriptor >= 0:
                os.eventfd_write(self.descriptor, 1)

    def answer(self) -> None:
        """Be ready to ring again."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Never ring again."""
        with self._lock:
            descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
