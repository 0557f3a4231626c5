"""A clock that a test moves instead of waiting."""

from __future__ import annotations

import time

from node.timers import Clock


class FakeClock(Clock):
    """Begins at the real time, so that what the receiver writes is in its past, and then stands still."""

    def __init__(self) -> None:
        self.wall, self.passed = time.time() + 0.5, 0.0
        super().__init__(lambda: self.wall, lambda: self.passed)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.passed += seconds

    def set(self, seconds: float) -> None:
        """Somebody sets the clock forward, or back."""
        self.wall += seconds
