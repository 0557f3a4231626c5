"""Wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 30, what: str = "") -> T:
    """Poll ``condition`` until it is true and return its value.

    Raises:
        AssertionError: it was still false after ``timeout`` seconds.
    """
    pause, deadline = Event(), time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        pause.wait(0.02)
    return value
