"""The API answers what the contract says; hostile header values stay text."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from node import audit, database, worklist
from node.domain import (
    DEMO_NOTICE,
    JSON,
    AuditEvent,
    CodedConcept,
    EntryState,
    OperatingPoint,
    Presence,
    Priority,
    Side,
    StudyFinding,
)
from node.errors import ConfigurationError
from node.web import readiness
from node.web.application import allowed_hosts, create_app
from node.web.server import WebServer, serve
from node.worklist import Phase

HOSTILE = '"><script>alert(1)</script>\u202e&'

PNEUMOTHORAX = StudyFinding(
    finding="pneumothorax", concept=CodedConcept("SCT", "36118008", "Pneumothorax"),
    site=CodedConcept("SCT", "39607008", "Lung"), presence=Presence.PRESENT, score=0.93,
    operating_point=OperatingPoint(present_above=0.71, absent_below=0.4), side=Side.LEFT, certainty=None, agreed=True,
)


def is_ready() -> tuple[bool, JSON]:
    return True, {"ready": True, "missing": []}


ON_BOTH_DATABASES = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """A SQLite file, unless the test asks for both."""
    kind = getattr(request, "param", "sqlite")
    url: str = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def client(engine: sa.Engine, tmp_path: Path) -> TestClient:
    return TestClient(create_app(engine, tmp_path, is_ready))


def add(engine: sa.Engine, uid: str, priority: Priority | None = None, **columns: Any) -> None:
    at = database.now() - 60
    with database.transaction(engine) as connection:
        connection.execute(sa.insert(database.study).values(
            study_instance_uid=uid, opened_at=at, last_received_at=at, **columns))
        worklist.open_entry(connection, uid, at)
        if priority is not None:
            worklist.advance(
                connection, uid, 1, Phase.RANKED, state=EntryState.CONFIRMED, ai_priority=priority,
                findings=[PNEUMOTHORAX], decisive_at=at, dossier={"impression": "Left pneumothorax."})


def add_report(engine: sa.Engine, uid: str) -> None:
    at = database.now()
    with database.transaction(engine) as connection:
        connection.execute(sa.insert(database.run).values(
            study_instance_uid=uid, version=1, started_at=at, trigger="quiet", instance_ids=[1],
            results={"triage": {"pneumothorax": 0.93}}))
        connection.execute(sa.insert(database.instance).values(
            sop_class_uid="1.2", sop_instance_uid="1.2.1", study_instance_uid=uid, series_instance_uid="1.2.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1", path="instances/x", size=10, calling_ae_title=HOSTILE[:16],
            called_ae_title="AINODE", source_host="127.0.0.1", received_at=at))
        connection.execute(sa.insert(database.report).values(
            sop_instance_uid="1.2.9", study_instance_uid=uid, version=1, kind="measurement_report", sop_class_uid="1.3",
            series_instance_uid="1.2.8", path="reports/x", created_at=at))
        connection.execute(sa.insert(database.delivery).values(
            sop_instance_uid="1.2.9", destination="pacs", study_instance_uid=uid, version=1, state="stored",
            updated_at=at))
        audit.append(connection, "web", AuditEvent(action="ranked", study_instance_uid=uid, detail={"by": HOSTILE}))


def test_the_process_lives(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200


def test_not_ready_says_what_is_missing(engine: sa.Engine, tmp_path: Path) -> None:
    client = TestClient(create_app(engine, tmp_path, lambda: readiness.of_roles(engine, "now")))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["receiver is not running", "clerk is not running", "worker is not running"]


@ON_BOTH_DATABASES
@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, []),
        ({"ready": False}, ["worker is starting"]),
        ({"beat_at": 0.0}, ["worker is silent"]),
        ({"incarnation": "before"}, ["worker is not running"]),
    ],
)
def test_ready_needs_every_role_alive_in_this_incarnation(
    engine: sa.Engine, changes: dict[str, Any], missing: list[str]
) -> None:
    with database.transaction(engine) as connection:
        for role in readiness.REQUIRED_ROLES:
            row = {"slot": role, "role": role, "incarnation": "now", "pid": 1, "ready": True, "beat_at": database.now()}
            connection.execute(sa.insert(database.role_status).values(row | (changes if role == "worker" else {})))
    ready, detail = readiness.of_roles(engine, "now")
    assert (ready, detail["missing"]) == (not missing, missing)


def worker(engine: sa.Engine, detail: JSON) -> None:
    with database.transaction(engine) as connection:
        connection.execute(sa.insert(database.role_status).values(
            slot="worker", role="worker", incarnation="now", pid=1, ready=True, beat_at=database.now(), detail=detail))


@pytest.mark.parametrize(("loaded", "ready"), [({"demo-chest": "net"}, True), ({}, False)])
def test_a_refused_prompt_set_is_named_and_only_a_worker_without_any_is_not_ready(
    engine: sa.Engine, tmp_path: Path, loaded: dict[str, str], ready: bool
) -> None:
    worker(engine, {"triage": loaded, "refused": {"fundus": "'grade 1' turns round"}})
    said = readiness.of_roles(engine, "now", ["worker"])
    assert (said[0], said[1]["refused"]) == (ready, {"fundus": "'grade 1' turns round"})
    client = TestClient(create_app(engine, tmp_path, lambda: said))
    assert "fundus" in client.get("/").text
    assert "turns round" in client.get("/operations").text


@ON_BOTH_DATABASES
def test_the_worklist_is_in_order_and_whole(engine: sa.Engine, client: TestClient) -> None:
    add(engine, "1.1")
    add(engine, "1.2", Priority.STAT, patient_id="P1", accession_number="A1", modality="DX")
    entries = client.get("/api/worklist").json()["entries"]
    assert [(entry["study_instance_uid"], entry["priority"]) for entry in entries] == [
        ("1.2", "STAT"), ("1.1", "ROUTINE")]
    assert entries[0]["findings"][0]["concept"] == "Pneumothorax"
    assert len(client.get("/api/worklist?limit=1").json()["entries"]) == 1


@ON_BOTH_DATABASES
def test_the_dossier_holds_all_about_a_study_but_no_path(engine: sa.Engine, client: TestClient) -> None:
    add(engine, "1.2", Priority.STAT)
    add_report(engine, "1.2")
    answer = client.get("/api/studies/1.2")
    dossier = answer.json()
    assert dossier["entry"]["delivery"] == "stored"
    assert dossier["versions"][0]["results"] == {"triage": {"pneumothorax": 0.93}}
    assert [len(dossier[part]) for part in ("instances", "reports", "deliveries", "audit")] == [1, 1, 1, 1]
    assert dossier["notes"] == {"impression": "Left pneumothorax."}
    assert "instances/x" not in answer.text and "reports/x" not in answer.text


def test_what_the_findings_model_wrote_is_shown_only_after_the_guardrails(
    engine: sa.Engine, client: TestClient
) -> None:
    add(engine, "1.2", Priority.STAT)
    add_report(engine, "1.2")
    raw = {"state": "done", "reason": "", "model": {"name": "m"}, "findings": {"impression": "RAWTEXT"}}
    with database.transaction(engine) as connection:
        connection.execute(sa.update(database.run).values(results={"findings": raw}))
    answer = client.get("/api/studies/1.2")
    assert answer.json()["versions"][0]["results"]["findings"] == {
        "state": "done", "reason": "", "model": {"name": "m"}}
    assert "RAWTEXT" not in answer.text + client.get("/studies/1.2").text


def test_an_unknown_study_is_404(client: TestClient) -> None:
    assert client.get("/api/studies/9.9").status_code == 404
    assert "error" in client.get("/api/studies/9.9").json()
    page = client.get(f"/studies/{HOSTILE.replace('/', '')}")
    assert page.status_code == 404
    assert "<script>alert" not in page.text


@ON_BOTH_DATABASES
def test_audit_is_asked_by_study_and_number(engine: sa.Engine, client: TestClient) -> None:
    with database.transaction(engine) as connection:
        for uid in ("1", "2", "2"):
            audit.append(connection, "web", AuditEvent(action="stored", study_instance_uid=uid))
    assert len(client.get("/api/audit").json()["events"]) == 3
    assert len(client.get("/api/audit?study=2").json()["events"]) == 2
    assert len(client.get("/api/audit?limit=1").json()["events"]) == 1
    assert client.get("/api/audit?limit=0").status_code == 422


@ON_BOTH_DATABASES
def test_metrics_come_from_the_database(engine: sa.Engine, client: TestClient) -> None:
    add(engine, "1.2", Priority.STAT)
    add(engine, "1.3")
    with database.transaction(engine) as connection:
        connection.execute(sa.update(database.worklist_entry).where(
            database.worklist_entry.c.flagged_at.is_not(None)).values(decisive_at=100.0, flagged_at=101.5))
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'ainode_time_to_flag_seconds_bucket{le="1.0"} 0.0', 'ainode_time_to_flag_seconds_bucket{le="2.0"} 1.0',
        'ainode_time_to_flag_seconds_bucket{le="+Inf"} 1.0', "ainode_time_to_flag_seconds_sum 1.5",
        "ainode_time_to_notify_seconds_count 0.0", 'ainode_studies{state="confirmed"} 1.0',
        'ainode_studies{state="receiving"} 1.0', 'ainode_open_studies{lane="historical"} 0.0',
        'ainode_deliveries{state="failed"} 0.0',
        'ainode_instances{state="received"} 0.0', 'ainode_findings_state{state="pending"} 2.0',
    ):
        assert line in lines


@pytest.mark.parametrize(
    "path", ["/", "/?fragment=true", "/?show=raised&hours=0", "/studies/1.2", "/audit", "/operations"])
def test_a_hostile_header_value_stays_text(engine: sa.Engine, client: TestClient, path: str) -> None:
    add(engine, "1.2", Priority.STAT, patient_id=HOSTILE, accession_number=HOSTILE, modality=HOSTILE)
    add_report(engine, "1.2")
    answer = client.get(path)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["cache-control"] == "no-store"


def test_a_page_needs_nothing_the_policy_forbids(engine: sa.Engine, client: TestClient) -> None:
    add(engine, "1.2", Priority.STAT)
    text = client.get("/").text
    assert "style=" not in text and "<style" not in text and "onclick" not in text
    assert "http://" not in text and "https://" not in text


def test_a_page_carries_the_notices_and_the_demo_mark(engine: sa.Engine, tmp_path: Path) -> None:
    client = TestClient(create_app(engine, tmp_path, is_ready, notices=("RESEARCH USE ONLY",)))
    add(engine, "1.2", Priority.STAT)
    assert "RESEARCH USE ONLY" in client.get("/audit").text
    assert DEMO_NOTICE not in client.get("/").text
    with database.transaction(engine) as connection:
        worklist.advance(connection, "1.2", 1, Phase.FINDINGS, demo_model=True)
    assert DEMO_NOTICE in client.get("/").text
    assert DEMO_NOTICE in client.get("/studies/1.2").text


def test_a_finding_is_not_called_normal(engine: sa.Engine, client: TestClient) -> None:
    add(engine, "1.2", Priority.STAT)
    assert "score .93 (flagged at .71)" in client.get("/").text


def test_a_database_that_does_not_answer_is_503(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    client = TestClient(create_app(engine, tmp_path, is_ready))
    assert client.get("/api/worklist").status_code == 503
    assert client.get("/metrics").status_code == 503
    engine.dispose()


def test_a_foreign_host_name_is_refused_on_loopback(engine: sa.Engine, tmp_path: Path) -> None:
    client = TestClient(create_app(engine, tmp_path, is_ready, allowed_hosts=allowed_hosts("127.0.0.1")))
    assert client.get("/healthz", headers={"host": "evil.example:8042"}).status_code == 400
    assert client.get("/healthz", headers={"host": "localhost:8042"}).status_code == 200
    assert allowed_hosts("0.0.0.0") == ("*",)


@pytest.fixture
def server(engine: sa.Engine, tmp_path: Path) -> Iterator[WebServer]:
    server = serve(create_app(engine, tmp_path, is_ready), "127.0.0.1", 0)
    yield server
    server.stop()


def event_lines(response: http.client.HTTPResponse) -> Iterator[str]:
    while line := response.fp.readline():
        yield line.decode().rstrip()


@ON_BOTH_DATABASES
def test_a_change_is_announced_to_a_watcher(engine: sa.Engine, server: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/api/events")
    response = connection.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = event_lines(response)
    assert next(line for line in lines if line.startswith("event:")) == "event: worklist"
    add(engine, "1.2", Priority.STAT)
    assert next(line for line in lines if line.startswith("event:")) == "event: worklist"
    connection.close()


def test_the_server_stops_while_a_watcher_is_connected(engine: sa.Engine, tmp_path: Path) -> None:
    failed = threading.Event()
    server = serve(create_app(engine, tmp_path, is_ready), "127.0.0.1", 0, failed.set)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/api/events")
    assert connection.getresponse().status == 200
    server.stop()
    assert not server.thread.is_alive()
    assert not failed.is_set()
    connection.close()


def test_a_taken_port_is_a_configuration_error(engine: sa.Engine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match=r"web\.port"):
        serve(create_app(engine, tmp_path, is_ready), "127.0.0.1", taken.getsockname()[1])


def test_json_over_a_real_socket(engine: sa.Engine, server: WebServer) -> None:
    add(engine, "1.2", Priority.STAT)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/api/worklist")
    assert json.load(connection.getresponse())["entries"][0]["study_instance_uid"] == "1.2"
    connection.close()
