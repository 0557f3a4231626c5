"""A circuit breaker: a server that keeps failing is left alone for a while, then tried by one request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class CircuitBreaker:
    """Opens after ``failures`` in a row, for ``open_seconds``; then one request goes out and decides. Thread-safe."""

    failures: int
    open_seconds: float
    clock: Callable[[], float]
    _failed: int = 0
    _opened_at: float | None = None
    _trying: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_open(self) -> bool:
        """Nothing goes out but a trial."""
        return self._opened_at is not None

    def closed_in(self) -> float:
        """0 when a request may go out now, which then has to report how it went; else the seconds to wait."""
        with self._lock:
            if self._opened_at is None:
                return 0.0
            left = self._opened_at + self.open_seconds - self.clock()
            if left > 0 or self._trying:
                return max(left, 1.0)
            self._trying = True
            return 0.0

    def succeeded(self) -> None:
        """The server answered, be it with a refusal."""
        with self._lock:
            self._failed, self._opened_at, self._trying = 0, None, False

    def failed(self) -> None:
        """The server did not answer."""
        with self._lock:
            self._failed += 1
            if self._trying or self._failed >= self.failures:
                self._opened_at, self._trying = self.clock(), False
