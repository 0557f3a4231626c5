"""The worklist in a real browser: every row is there, escaped, and a new one appears without a reload."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from node import database, worklist
from node.domain import (
    DEMO_NOTICE,
    Certainty,
    CodedConcept,
    EntryState,
    FindingsState,
    OperatingPoint,
    Presence,
    Priority,
    ReportState,
    Side,
    StudyFinding,
)
from node.web.application import create_app
from node.web.server import WebServer, serve
from node.worklist import Phase
from tests.tools.waiting import wait_until

CHROMIUM = "/usr/bin/chromium"
HOSTILE = "<img src=x onerror=document.title='owned'>"
LUNG = CodedConcept("SCT", "39607008", "Lung")


def finding(meaning: str, presence: Presence, score: float | None, side: Side = Side.NONE, **more: Any) -> StudyFinding:
    return StudyFinding(
        finding=meaning.lower(), concept=CodedConcept("SCT", "1", meaning), site=LUNG, presence=presence, score=score,
        operating_point=OperatingPoint(present_above=0.71, absent_below=0.4), side=side,
        **{"certainty": None, "agreed": None} | more,
    )


NEGATIVE = [
    finding(meaning, Presence.ABSENT, score)
    for meaning, score in (("Pleural effusion", 0.08), ("Cardiomegaly", 0.12), ("Pulmonary edema", 0.21))
]


def add(engine: sa.Engine, uid: str, minutes: float, changes: dict[str, Any] | None = None, **columns: Any) -> None:
    """A study that waits for ``minutes``, ranked when there are ``changes``."""
    at = database.now() - minutes * 60
    with database.transaction(engine) as connection:
        connection.execute(sa.insert(database.study).values(
            study_instance_uid=uid, opened_at=at, last_received_at=at, modality="DX", **columns))
        worklist.open_entry(connection, uid, at)
        if changes is not None:
            worklist.advance(
                connection, uid, 1, Phase.REPORTED, decisive_at=at, demo_model=True,
                **{"state": EntryState.CONFIRMED} | changes)
            connection.execute(sa.update(database.worklist_entry).where(
                database.worklist_entry.c.study_instance_uid == uid,
                database.worklist_entry.c.flagged_at.is_not(None)).values(flagged_at=at + 0.84))


def fill(engine: sa.Engine) -> None:
    """One study of every kind that a reader may meet."""
    root = "2.25.1764213900."
    text = {"findings_state": FindingsState.DONE, "report_state": ReportState.WRITTEN}
    add(engine, f"{root}1", 12, {
        **text, "ai_priority": Priority.STAT, "dossier": {
            "impression": "Left pneumothorax.\nSmall left pleural effusion.", "recommendation": "Read now.",
            "remarks": ["Age is unknown; the models were trained on adults."],
            "guardrails": [{"rule": "view", "version": "1", "verdict": "pass", "reason": ""}],
            "images": {"received": 2, "evaluated": 1, "instances_evaluated": 1, "series": 2, "series_evaluated": 1,
                       "decisive": f"{root}1.1.1", "decisive_frame": 1, "aggregate": "max",
                       "not_evaluated": {f"{root}1.2.1": "view LATERAL is not one of PA, AP"}}},
        "findings": [
            finding("Pneumothorax", Presence.PRESENT, 0.93, Side.LEFT, certainty=Certainty.PROBABLE, agreed=True,
                    names={"en": "Pneumothorax", "ko": "기흉"}),
            finding("Pleural effusion", Presence.PRESENT, 0.74, Side.LEFT, agreed=False), *NEGATIVE[1:]],
    }, accession_number="A2025-00417", patient_id="4471-02")
    add(engine, f"{root}2", 31, order_priority=int(Priority.STAT), accession_number="A2025-00409", patient_id="8820-11")
    add(engine, f"{root}3", 3, {
        "state": EntryState.PROVISIONAL, "ai_priority": Priority.HIGH, "findings": [
            finding("Lung consolidation", Presence.PRESENT, 0.81, Side.RIGHT),
            finding("Pulmonary nodule", Presence.UNDETERMINED, 0.55), *NEGATIVE[:2]],
    }, accession_number="A2025-00421", patient_id="1093-77")
    add(engine, f"{root}4", 260, {**text, "ai_priority": Priority.ROUTINE, "findings": NEGATIVE},
        accession_number="A2025-00377", patient_id="5102-40")
    add(engine, f"{root}5", 55, {**text, "ai_priority": Priority.ROUTINE, "findings": NEGATIVE},
        accession_number="A2025-00402", patient_id=HOSTILE)
    add(engine, f"{root}6", 22, {
        "state": EntryState.NOT_EVALUABLE, "reason": "view LATERAL is not one of PA, AP",
        "findings_state": FindingsState.WITHHELD, "report_state": ReportState.WITHHELD,
    }, accession_number="A2025-00411", patient_id="2231-90")
    add(engine, f"{root}7", 18, {
        "state": EntryState.FAILED, "reason": "pixels do not decode: truncated JPEG 2000",
        "findings_state": FindingsState.FAILED, "report_state": ReportState.FAILED,
    }, accession_number="", patient_id="3310-08")
    add(engine, f"{root}8", 1, accession_number="A2025-00423", patient_id="6604-15")
    add(engine, f"{root}9", 400, {**text, "findings": NEGATIVE}, lane="historical", accession_number="A2019-10020",
        patient_id="5102-40")
    book_delivery(engine, f"{root}1")


def book_delivery(engine: sa.Engine, uid: str) -> None:
    at = database.now()
    with database.transaction(engine) as connection:
        connection.execute(sa.insert(database.run).values(
            study_instance_uid=uid, version=1, started_at=at, trigger="quiet", instance_ids=[1],
            results={"plan": {"pipeline": "chest-xray"}, "triage": {"pneumothorax": 0.93}}, state="done"))
        connection.execute(sa.insert(database.instance).values(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid=f"{uid}.1.1", study_instance_uid=uid,
            series_instance_uid=f"{uid}.1", transfer_syntax_uid="1.2.840.10008.1.2.1", modality="DX", path="x", size=9,
            calling_ae_title="DX_ROOM_2", called_ae_title="AINODE", source_host="10.0.3.14", received_at=at - 700,
            state="accepted", evidence=True))
        connection.execute(sa.insert(database.report).values(
            sop_instance_uid=f"{uid}.9", study_instance_uid=uid, version=1, kind="measurement_report",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", series_instance_uid=f"{uid}.8", path="x", created_at=at))
        connection.execute(sa.insert(database.delivery).values(
            sop_instance_uid=f"{uid}.9", destination="pacs", study_instance_uid=uid, version=1, state="committed",
            attempts=1, updated_at=at))


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The page is the same on every database."""
    return sqlite_url


class HeldPage:
    """Serves the application, and keeps the worklist page loading until :attr:`release` is set.

    A deferred script after the page's own one does it; a browser that is to print the document
    waits for it. What was served as a fragment of the page is kept in :attr:`fragments`.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.state = app.state
        self.release = threading.Event()
        self.fragments: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/hold.js":
            while not self.release.is_set():
                await asyncio.sleep(0.05)
            await Response("", media_type="text/javascript")(scope, receive, send)
        elif scope["path"] != "/":
            await self.app(scope, receive, send)
        elif b"fragment" in scope["query_string"]:
            await self.app(scope, receive, self.kept(send))
        else:
            await self.app(scope, receive, held(send))

    def kept(self, send: Send) -> Send:
        async def keep(message: Message) -> None:
            await send(message)
            self.fragments.append(message.get("body", b"").decode())

        return keep

    def was_told(self, text: str) -> bool:
        return any(text in fragment for fragment in self.fragments)


def held(send: Send) -> Send:
    script = b'<script src="/hold.js" defer></script>'

    async def with_script(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-length"] = str(int(headers["content-length"]) + len(script))
        else:
            message = {**message, "body": message["body"] + script}
        await send(message)

    return with_script


@pytest.fixture
def page(engine: sa.Engine, tmp_path: Path) -> HeldPage:
    fill(engine)
    page = HeldPage(create_app(engine, tmp_path, lambda: (True, {}), notices=("RESEARCH USE ONLY",)))
    page.release.set()
    return page


@pytest.fixture
def server(page: HeldPage) -> Iterator[WebServer]:
    server = serve(page, "127.0.0.1", 0)
    yield server
    page.release.set()
    server.stop()


def browser(server: WebServer, tmp_path: Path, path: str = "/") -> subprocess.Popen[str]:
    """A browser that prints the document as it is once everything was loaded and ran."""
    return subprocess.Popen(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", f"http://127.0.0.1:{server.port}{path}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def document(server: WebServer, tmp_path: Path, path: str = "/") -> str:
    printed, _ = browser(server, tmp_path, path).communicate(timeout=120)
    return printed


def accession_numbers(document: str) -> list[str]:
    return re.findall(r"<bdi>(A20[0-9-]+)</bdi>|(no accession number)", document)


def test_every_study_has_a_row_in_worklist_order(server: WebServer, tmp_path: Path) -> None:
    shown = document(server, tmp_path)
    assert ["".join(found) for found in accession_numbers(shown)] == [
        "A2025-00409", "A2025-00417", "A2025-00377", "A2025-00421", "A2025-00402", "A2025-00411",
        "no accession number", "A2025-00423", "A2019-10020"]
    assert "score .93 (flagged at .71)" in shown
    assert DEMO_NOTICE in shown and "RESEARCH USE ONLY" in shown


def test_a_hostile_patient_id_does_not_run(server: WebServer, tmp_path: Path) -> None:
    shown = document(server, tmp_path)
    assert "&lt;img src=x" in shown
    assert "<title>Worklist" in shown


def test_a_negative_study_is_not_called_normal(server: WebServer, tmp_path: Path) -> None:
    table = document(server, tmp_path).partition("<table")[2].partition("</table>")[0]
    assert "not flagged" in table
    assert "normal" not in table


def test_the_dossier_page_shows_findings_text_and_delivery(server: WebServer, tmp_path: Path) -> None:
    shown = document(server, tmp_path, "/studies/2.25.1764213900.1")
    for part in ("Left pneumothorax.", "Draft text, not verified", "committed", "DX_ROOM_2", "score .74"):
        assert part in shown


def test_the_dossier_page_says_how_many_images_were_analysed_and_which_decided(
    server: WebServer, tmp_path: Path
) -> None:
    shown = document(server, tmp_path, "/studies/2.25.1764213900.1")
    assert "Analysed: 1 of 2 instances (images: 1), 1 of 2 series" in shown
    assert "Decisive image: <bdi>2.25.1764213900.1.1.1</bdi>" in shown
    assert "Not analysed: 1, <bdi>view LATERAL is not one of PA, AP</bdi>" in shown
    assert "<bdi>2.25.1764213900.1.2.1</bdi>" in shown


def test_the_pages_are_in_the_language_of_the_node(engine: sa.Engine, tmp_path: Path) -> None:
    fill(engine)
    server = serve(create_app(engine, tmp_path, lambda: (True, {}), language="ko"), "127.0.0.1", 0)
    try:
        board = document(server, tmp_path)
        dossier = document(server, tmp_path, "/studies/2.25.1764213900.1")
    finally:
        server.stop()
    assert '<html lang="ko">' in board and DEMO_NOTICE in board
    for part in ("기흉", "좌측", "점수 .93 (.71부터 표시)", "오더 일반", "작업 목록", "실시간, ", "표시되지 않음"):
        assert part in board
    for part in ("기흉", "인스턴스 2개 중 1개(영상 1장)", "분석되지 않음: 1", "판정 근거 영상"):
        assert part in dossier


def test_a_new_study_appears_without_a_reload(
    page: HeldPage, server: WebServer, engine: sa.Engine, tmp_path: Path
) -> None:
    page.release.clear()
    opened = browser(server, tmp_path)
    wait_until(lambda: page.fragments, 60, "the page asks for the table")
    add(engine, "2.25.1", 0, accession_number="A2025-11111")
    wait_until(lambda: page.was_told("A2025-11111"), 60, "the page asks again")
    # A page asks for the next table only when it has shown the last one.
    add(engine, "2.25.2", 0, accession_number="A2025-22222")
    wait_until(lambda: page.was_told("A2025-22222"), 60, "the page asks once more")
    page.release.set()
    printed, _ = opened.communicate(timeout=120)
    assert "A2025-11111" in printed
    assert "live, " in printed
