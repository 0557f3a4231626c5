"""Structured log and supervised threads of a role process.

A record is one JSON object per line on standard error: a sentence, a fixed ``action``, and
identifiers. Patient names and data sets cannot get in by accident: every text is cut to its
first line and before the first data element printed in it, of an extra only plain values are
shown, of an exception only its type, its message and the places in the code, and of a library's
warning only where it was raised.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from node.domain import JSON

log = logging.getLogger(__name__)

TEXT_LIMIT = 300
"""Characters of a message or exception text that are shown."""

#: Their warnings quote attribute values, and below that they print whole data sets.
CHATTY_LIBRARIES = ("pydicom", "pynetdicom", "highdicom")

WARNINGS_LOGGER = "py.warnings"

#: How pydicom prints a data element: tag, name, VR.
DATA_ELEMENT = re.compile(r"\([0-9A-Fa-f]{4}, ?[0-9A-Fa-f]{4}\).*? [A-Z]{2}: ")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class JsonLines(logging.Formatter):
    """One JSON object per record, safe to keep."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: JSON = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "role": self._role, "logger": record.name,
            "action": getattr(record, "action", "log"), "message": _message(record),
        }
        extras = {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line}
        line |= {name: _plain(value) for name, value in extras.items()}
        if record.exc_info:
            line |= _error(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.name != WARNINGS_LOGGER:
        return _shown(text)
    return ":".join(text.split(":", 3)[:3])  # file, line and category; the rest may quote a value


def _shown(text: str) -> str:
    first_line = next(iter(text.splitlines()), "")
    shown = DATA_ELEMENT.split(first_line, maxsplit=1)[0][:TEXT_LIMIT]
    return shown if shown == text else f"{shown} …"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _shown(value)
    if type(value) is dict:
        return {str(name): _plain(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, int | float | bool) else f"<{type(value).__name__}>"


def _error(info: ExceptionInfo) -> JSON:
    kind, error, trace = info
    if kind is None or error is None:
        return {}
    frames = traceback.extract_tb(trace)[-6:]
    line: JSON = {
        "error": f"{kind.__name__}: {_shown(str(error))}",
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    return line if error.__cause__ is None else line | {"cause": type(error.__cause__).__name__}


def configure_logging(level: str, role: str, stream: TextIO | None = None) -> None:
    """Send every record of this process to ``stream`` (standard error); called once, by the composition root.

    ``level`` is one of debug, info, warning, error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(True)


def supervised_thread(name: str, target: Callable[[], None], on_failure: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; an error it does not expect is logged and ``on_failure`` is called.

    ``on_failure`` stops the process: one that lost a thread must not go on half alive.
    """
    thread = threading.Thread(target=_supervise, args=(name, target, on_failure), name=name, daemon=True)
    thread.start()
    return thread


def _supervise(name: str, target: Callable[[], None], on_failure: Callable[[], None]) -> None:
    try:
        target()
    except (Exception, SystemExit):
        log.critical("Thread %s ended with an error", name, exc_info=True, extra={"action": "thread_failed"})
        on_failure()
