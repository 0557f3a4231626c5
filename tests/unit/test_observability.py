"""The log is structured and keeps patients out; a thread does not die unnoticed."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node import observability
from node.errors import StorageError


def patient() -> Dataset:
    dataset = Dataset()
    dataset.StudyInstanceUID = "1.2.3"
    dataset.PatientName = "SECRET^NAME"
    return dataset


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    libraries = {name: logging.getLogger(name).level for name in observability.CHATTY_LIBRARIES}
    observability.configure_logging("info", "receiver", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)
    for name, was in libraries.items():
        logging.getLogger(name).setLevel(was)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_line_with_action_role_and_identifiers(stream: io.StringIO) -> None:
    logging.getLogger("node.intake").info("Instance is durable", extra={"action": "stored", "sop_instance_uid": "1.2"})
    (line,) = lines(stream)
    assert line["action"] == "stored"
    assert (line["role"], line["level"], line["logger"]) == ("receiver", "info", "node.intake")
    assert (line["message"], line["sop_instance_uid"]) == ("Instance is durable", "1.2")


def test_a_line_break_in_a_hostile_value_does_not_forge_a_record(stream: io.StringIO) -> None:
    logging.getLogger("node").info("Peer %s", 'EVIL\n{"action": "forged"}')
    assert [line["action"] for line in lines(stream)] == ["log"]


def test_a_dataset_in_message_extra_or_error_is_not_printed(stream: io.StringIO) -> None:
    log = logging.getLogger("node")
    log.error("Cannot read %s", patient(), extra={"dataset": patient(), "list": [1, patient()]})
    try:
        raise StorageError(patient())
    except StorageError:
        log.exception("Failed")
    assert "SECRET" not in stream.getvalue()
    assert (lines(stream)[0]["dataset"], lines(stream)[0]["list"]) == ("<Dataset>", [1, "<Dataset>"])


def test_an_error_shows_type_message_cause_and_place(stream: io.StringIO) -> None:
    try:
        raise StorageError("disk is full") from OSError(28, "no space")
    except StorageError:
        logging.getLogger("node").exception("Failed")
    (line,) = lines(stream)
    assert (line["error"], line["cause"]) == ("StorageError: disk is full", "OSError")
    assert line["where"][-1].endswith("test_an_error_shows_type_message_cause_and_place")


def test_a_library_warning_does_not_quote_the_value(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        observability.configure_logging("info", "worker", stream)
        warnings.warn("Invalid value for VR PN: 'SECRET^NAME'", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stream)
    assert "SECRET" not in stream.getvalue()
    assert "UserWarning" in line["message"]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_an_unexpected_error_in_a_thread_is_logged_and_reported(stream: io.StringIO, error: BaseException) -> None:
    failed = threading.Event()

    def target() -> None:
        raise error

    observability.supervised_thread("beat", target, failed.set).join(5)
    assert failed.is_set()
    assert lines(stream)[0]["action"] == "thread_failed"


def test_a_thread_that_ends_by_itself_is_no_failure() -> None:
    failed, ran = threading.Event(), threading.Event()
    thread = observability.supervised_thread("once", ran.set, failed.set)
    thread.join(5)
    assert ran.is_set() and not failed.is_set()
    assert thread.daemon
