"""What the rules hold back never leaves the node: no report, page, answer, log or audit event has it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from node import audit, worklist
from node.database import connect, metadata, now, reading
from node.domain import FindingsState, Presence, Priority, ReportState, Side
from node.web.application import create_app
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode

STUDY = "1.2.3"
MARKER = "ZEBRAFINCH"
LEAKING = f"<unused94>thought I look at the {MARKER} first. Right pleural effusion."


@pytest.fixture
def node(sqlite_url: str, tmp_path: Path) -> Iterator[StraightNode]:
    """A node whose findings model thinks aloud about a right pleural effusion that triage flags."""
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    straight = StraightNode(engine, tmp_path)
    straight.triage.present = {"effusion"}
    straight.findings.sees("pleural effusion", Side.RIGHT, LEAKING)
    straight.findings.recommendation = f"Look at the {MARKER}."
    yield straight
    engine.dispose()


def outside(node: StraightNode) -> str:
    """Everything that the node says to anybody: pages, API and audit trail."""
    client = TestClient(create_app(node.engine, node.data_dir, lambda: (True, {"ready": True, "missing": []})))
    paths = ("/", "/operations", "/audit", f"/studies/{STUDY}", f"/api/studies/{STUDY}", "/api/worklist", "/api/audit",
             "/metrics")
    return "\n".join(client.get(path).text for path in paths)


def test_a_leaked_thought_leaves_nowhere_and_the_flag_stands(
    node: StraightNode, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        entry = node.evaluate(chest(STUDY))
    assert (entry.findings_state, entry.report_state) == (FindingsState.WITHHELD, ReportState.WRITTEN)
    assert (entry.ai_priority, entry.priority) == (Priority.HIGH, Priority.HIGH)
    effusion = node.finding(STUDY, "effusion")
    assert (effusion.presence, effusion.score, effusion.side) == (Presence.PRESENT, 0.9, Side.NONE)
    for report in node.reports(STUDY):
        told = report.to_json()
        assert MARKER not in told
        assert "Text withheld" in told and "Pleural effusion" in told
    assert len(node.pacs.held) == 2
    for file in node.pacs.held.values():
        assert MARKER.encode() not in file.read_bytes()
    assert MARKER not in outside(node)
    assert MARKER not in caplog.text + json.dumps([str(vars(record)) for record in caplog.records])


def test_the_page_of_the_study_names_the_rule(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    page = outside(node).partition("<h2>Guardrails</h2>")[2].partition("</section>")[0]
    assert "20 of 21 rules passed" in page
    assert "withhold" in page and "leaked_thought" in page and "model&#39;s thinking" in page


def test_the_dossier_and_the_audit_trail_name_the_rule_with_its_version(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    notes = node.dossier(STUDY)
    said = {one["rule"]: one for one in notes["guardrails"]}
    assert (said["leaked_thought"]["verdict"], said["leaked_thought"]["version"]) == ("withhold", "1")
    assert (notes["impression"], notes["recommendation"]) == ("", "")
    with reading(node.engine) as connection:
        (event,) = [one for one in audit.events(connection, STUDY) if one["action"] == "stage.guard"]
    assert event["detail"]["guardrails"] == notes["guardrails"]
    assert event["detail"]["words_sha256"] == node.desk.words.sha256
    assert event["detail"]["findings_state"] == "withheld"


@pytest.mark.parametrize("text", [
    "Right pleural effusion.", LEAKING, "Normal chest.", "Unchanged effusion.", "Not urgent, routine only.",
    "Immediate attention. Emergency."])
def test_no_answer_moves_a_study(node: StraightNode, text: str) -> None:
    node.findings.impression = text
    node.triage.by_image = {f"{STUDY}.1": {"effusion": 0.9}, "9.9.1": {"effusion": 0.1}}
    node.take(chest(STUDY), chest("9.9"))
    node.complete()
    with reading(node.engine) as connection:
        entries = worklist.entries(connection, now=now())
    assert [(one.study_instance_uid, one.ai_priority) for one in entries] == [
        (STUDY, Priority.HIGH), ("9.9", Priority.ROUTINE)]


def test_a_withheld_text_stays_with_the_run_for_whoever_looks_into_it(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    assert node.run_of(STUDY).results["findings"]["findings"]["impression"] == LEAKING


def test_a_name_in_the_text_withholds_it(node: StraightNode) -> None:
    node.findings.impression = "Right pleural effusion of Gildong."
    entry = node.evaluate(chest(STUDY, PatientName="Hong^Gildong"))
    assert entry.findings_state is FindingsState.WITHHELD
    assert "Gildong" not in json.dumps(node.dossier(STUDY))


def test_an_answer_that_repeats_its_prompt_is_withheld(node: StraightNode) -> None:
    node.findings.impression = f"{node.findings.prompt.instruction} Right pleural effusion."
    assert node.evaluate(chest(STUDY)).findings_state is FindingsState.WITHHELD
    said = {one["rule"]: one["verdict"] for one in node.dossier(STUDY)["guardrails"]}
    assert said["echoed_prompt"] == "withhold"


def test_the_rows_of_the_audit_trail_hold_no_words_of_the_model(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    with reading(node.engine) as connection:
        details = connection.execute(sa.text("SELECT detail FROM audit_event")).scalars().all()
    assert details
    assert not any(MARKER in detail for detail in details)
