"""The command line: every command of the contract is there, and what goes wrong is one sentence and a status."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer.main
import yaml

from node import __version__, audit, checkup, worklist
from node.__main__ import app, main
from node.app import load_models
from node.commands.console import COMMAND_CHAIN
from node.config import load
from node.database import audit_event, commitment_request, connect, delivery, study, transaction, worklist_entry
from node.domain import AuditEvent
from tests.tools.documents import document
from tests.tools.network import free_port
from tests.tools.site import inverted

STUDY = "1.2.3"
CONTRACT = {
    "run": {"--role"}, "demo": {"--exit", "--write", "--count", "--seed"}, "check": {"--store"},
    "send": {"--to", "--aet"}, "worklist": {"--json"}, "complete": set(), "replay": set(),
    "delivery list": set(), "delivery retry": set(), "delivery discard": set(),
    "commitment list": set(), "commitment retry": set(),
    "audit verify": set(), "audit export": set(), "report": set(), "conformance": set(), "migrate": set(),
    "models list": set(), "models verify": set(),
}


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    status: int
    out: str
    err: str


Ainode = Callable[..., Said]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """``ainode run`` sets the log up for its whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def ainode(
    logging_as_before: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ainode:
    """Run the entry point of the console command in this process."""
    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["ainode", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Said(int(ended.value.code or 0), told.out, told.err)
    return run


def written(folder: Path, **sections: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": "data"}, **sections}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a node whose database is there, with one study."""
    from node.app import open_database

    config = written(tmp_path_factory.mktemp("cli"))
    engine = open_database(load(config))
    with transaction(engine) as connection:
        connection.execute(sa.insert(study).values(
            study_instance_uid=STUDY, patient_id="P1", opened_at=0.0, last_received_at=0.0))
        worklist.open_entry(connection, STUDY, 0.0)
        connection.execute(sa.insert(delivery).values(
            sop_instance_uid="1.9", destination="pacs", study_instance_uid=STUDY, version=1, state="failed",
            reason="nobody answered", updated_at=0.0))
    engine.dispose()
    return config


def engine_of(config: Path) -> sa.Engine:
    return connect(load(config).database.url)


def commands(command: Any, name: str = "") -> Iterator[tuple[str, set[str]]]:
    if hasattr(command, "commands"):
        for part, inner in command.commands.items():
            yield from commands(inner, f"{name} {part}".strip())
        return
    yield name, {option for parameter in command.params for option in parameter.opts}


def test_every_command_of_the_contract_is_there_and_takes_a_configuration() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert set(CONTRACT) <= set(found)
    assert {name for name, options in found.items() if "--config" not in options} == set()
    assert {name: wanted - found[name] for name, wanted in CONTRACT.items() if wanted - found[name]} == {}


def test_a_configuration_that_is_not_there_is_one_sentence_with_what_to_do(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("worklist", "--config", tmp_path / "none.yaml")
    assert (said.status, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith(f"ConfigurationError: {tmp_path / 'none.yaml'}: cannot be read")
    assert line.endswith("name a file with --config")


def test_a_wrong_setting_names_its_path_and_value(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("conformance", "--config", written(tmp_path, web={"port": 99999}))
    assert said.status == 2
    assert "web.port = 99999" in said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["complete", "replay"])
def test_an_unknown_study_is_one_sentence(ainode: Ainode, migrated: Path, command: str) -> None:
    said = ainode(command, "1.2.99", "--config", migrated)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("BadInput: study 1.2.99 is not known")
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["none.dcm", "config.yaml", "."])
def test_a_file_that_is_no_dicom_is_one_sentence(ainode: Ainode, migrated: Path, name: str) -> None:
    said = ainode("report", migrated.parent / name)
    assert (said.status, said.out) == (2, "")
    assert f"{migrated.parent / name}: cannot be read as DICOM" in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_a_document_that_is_no_report_is_one_sentence(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("report", document(tmp_path))
    assert (said.status, len(said.err.strip().splitlines())) == (2, 1)
    assert "is not a structured report" in said.err


def test_a_destination_that_is_no_address_is_refused(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("send", document(tmp_path), "--to", "somewhere", "--aet", "X")
    assert said.status == 2
    assert "host:port" in said.err


def test_a_peer_that_does_not_answer_is_one_sentence(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("send", document(tmp_path), "--to", f"127.0.0.1:{free_port()}", "--aet", "X")
    assert (said.status, len(said.err.strip().splitlines())) == (2, 1)
    assert said.err.startswith("PeerError")


def test_a_missing_model_ends_the_start_with_where_to_get_it(ainode: Ainode, tmp_path: Path) -> None:
    said = ainode("run", "--config", written(tmp_path, models={"triage": {"checkpoint": "./none"}}))
    assert said.status == 2
    assert said.err.startswith("ModelUnavailable")
    assert str(tmp_path / "none") in said.err
    assert "medsiglip" in said.err


def test_the_worklist_is_json_in_the_form_of_the_api(ainode: Ainode, migrated: Path) -> None:
    said = ainode("worklist", "--json", "--config", migrated)
    (entry,) = json.loads(said.out)["entries"]
    assert (said.status, entry["study_instance_uid"], entry["state"]) == (0, STUDY, "receiving")


def test_the_worklist_is_a_table_in_which_a_uid_stays_whole(ainode: Ainode, migrated: Path) -> None:
    uid = "2.25." + "3" * 39
    engine = engine_of(migrated)
    with transaction(engine) as connection:
        worklist.open_entry(connection, uid, 0.0)
    out = ainode("worklist", "--config", migrated).out
    with transaction(engine) as connection:
        connection.execute(sa.delete(worklist_entry).where(worklist_entry.c.study_instance_uid == uid))
    engine.dispose()
    assert "priority" in out
    assert uid in out


def test_a_study_is_completed_and_replayed_on_request_and_both_are_audited(ainode: Ainode, migrated: Path) -> None:
    assert ainode("complete", STUDY, "--config", migrated).out == f"study {STUDY} will be completed\n"
    assert ainode("replay", STUDY, "--config", migrated).out == f"study {STUDY} will be run again\n"
    engine = engine_of(migrated)
    with engine.connect() as connection:
        row = connection.execute(sa.select(study)).one()
        mine = sa.select(audit_event.c.action).where(audit_event.c.chain == COMMAND_CHAIN)
        actions = set(connection.scalars(mine))
    engine.dispose()
    assert (row.complete_requested, row.replay_requested) == (True, True)
    assert {"study.complete_requested", "study.replay_requested"} <= actions


def test_deliveries_are_listed_tried_again_and_given_up(ainode: Ainode, migrated: Path) -> None:
    assert "failed" in ainode("delivery", "list", "--config", migrated).out
    assert ainode("delivery", "retry", "--config", migrated).out == "1 instances will be sent again\n"
    assert ainode("delivery", "discard", "--study", "1.9.9", "--config", migrated).out == "0 instances are discarded\n"
    assert ainode("delivery", "discard", "--study", STUDY, "--config", migrated).out == "1 instances are discarded\n"


def test_senders_that_could_not_be_told_are_listed_and_told_again(ainode: Ainode, migrated: Path) -> None:
    engine = engine_of(migrated)
    with transaction(engine) as connection:
        connection.execute(sa.insert(commitment_request).values(
            transaction_uid="1.5.6", calling_ae_title="CT1", source_host="10.0.0.1", archive="pacs",
            instances=[["1.2", "1.9"]], committed=["1.9"], state="unreported", reason="nobody answered",
            requested_at=0.0, next_at=0.0))
    engine.dispose()
    listed = ainode("commitment", "list", "--config", migrated).out
    assert all(text in listed for text in ("CT1", "unreported", "1.5.6", "nobody answered"))
    assert ainode("commitment", "retry", "--config", migrated).out == "1 senders will be told again\n"
    assert "answered" in ainode("commitment", "list", "--config", migrated).out


def test_the_audit_trail_verifies_and_is_exported_line_by_line(ainode: Ainode, migrated: Path) -> None:
    engine = engine_of(migrated)
    with transaction(engine) as connection:
        audit.append(connection, "test", AuditEvent(action="seen", study_instance_uid=STUDY))
    engine.dispose()
    assert ainode("audit", "verify", "--config", migrated).status == 0
    exported = [json.loads(line) for line in ainode("audit", "export", "--config", migrated).out.splitlines()]
    assert "seen" in {event["action"] for event in exported}
    assert ainode("audit", "export", "--study", "1.9.9", "--config", migrated).out == ""


def test_an_altered_audit_trail_is_named_and_the_status_says_so(ainode: Ainode, migrated: Path) -> None:
    engine = engine_of(migrated)
    with transaction(engine) as connection:
        audit.append(connection, "altered", AuditEvent(action="first"))
        connection.execute(sa.text("UPDATE audit_chain SET head = 'x' WHERE chain = 'altered'"))
    said = ainode("audit", "verify", "--config", migrated)
    with transaction(engine) as connection:
        connection.execute(sa.text("DELETE FROM audit_chain WHERE chain = 'altered'"))
    engine.dispose()
    assert (said.status, "chain altered" in said.err) == (1, True)


def test_a_migration_says_which_database_is_up_to_date(ainode: Ainode, migrated: Path) -> None:
    said = ainode("migrate", "--config", migrated)
    assert (said.status, said.out.strip().endswith("node.sqlite is up to date")) == (0, True)


def test_the_conformance_text_names_what_is_negotiated(ainode: Ainode, tmp_path: Path) -> None:
    out = ainode("conformance", "--config", written(tmp_path, node={"ae_title": "CHEST1", "port": 104})).out
    assert __version__ in out
    assert "| CHEST1 | 127.0.0.1 | 104 | off |" in out
    for uid in ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.20.1"):
        assert f"| {uid} |" in out


def test_the_models_are_listed(ainode: Ainode, tmp_path: Path) -> None:
    out = ainode("models", "list", "--config", written(tmp_path, models={"findings": {"backend": "none"}})).out
    assert "triage    demo" in out
    assert "(none)" in out
    assert "prompt set demo-chest" in out


def test_drawn_studies_are_written_with_their_truth(ainode: Ainode, tmp_path: Path) -> None:
    assert ainode("demo", "--write", tmp_path / "drawn", "--count", 2, "--seed", 9_100_001).status == 0
    truth = json.loads((tmp_path / "drawn" / "truth.json").read_text(encoding="utf-8"))
    assert len(truth) == len(list((tmp_path / "drawn").glob("*.dcm"))) == 2
    for told in truth:
        assert {"file", "study_instance_uid", "findings"} <= set(told)
        assert (tmp_path / "drawn" / told["file"]).is_file()


def test_an_unknown_switch_of_the_demo_pacs_names_those_there_are(ainode: Ainode) -> None:
    said = ainode("demo", "--pacs", "nonsense", "--exit")
    assert (said.status, "route_back" in said.err) == (2, True)


def checked(config: Path, store: bool = False) -> dict[str, checkup.Line]:
    return {line.subject: line for line in checkup.lines(load(config), store)}


def test_a_check_looks_at_everything_a_node_needs(migrated: Path) -> None:
    lines = checked(migrated)
    assert set(lines) == {
        "intended use", "data_dir", "retention", "database", "network", "models.triage", "pipeline chest-xray",
        "models.findings", "pipeline chest-xray, findings", "gpu", "destinations"}
    assert all(line.ok for line in lines.values())
    assert "RESEARCH USE ONLY" in lines["intended use"].text
    assert "current" in lines["database"].text
    assert "SYNTHETIC" in lines["models.triage"].text
    assert "calibrated, by " in lines["pipeline chest-xray"].text
    assert "stay in the node" in lines["destinations"].text


@pytest.mark.parametrize(("retention", "told"), [
    ({}, "off: nothing is removed"), ({"days": 90}, "finished studies go after 90 days"),
    ({"min_free_mb": 5000}, "the oldest go while less than 5000 MB are free"),
    ({"min_free_mb": 2000}, "senders are refused first")])
def test_a_check_says_what_is_removed_and_when(tmp_path: Path, retention: dict[str, int], told: str) -> None:
    line = checked(written(tmp_path, retention=retention))["retention"]
    assert (line.ok, told in line.text) == (True, True)


def test_a_check_names_every_problem_and_goes_on(ainode: Ainode, tmp_path: Path) -> None:
    config = written(
        tmp_path, models={"triage": {"checkpoint": "./none"}}, receive={"min_free_disk_mb": 10**9},
        database={"url": f"postgresql://node:secret@127.0.0.1:{free_port()}/x"},
        destinations=[{"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": free_port()}])
    said = ainode("check", "--config", config)
    assert said.status == 1
    wrong = [line.split()[1].rstrip(":") for line in said.out.splitlines() if line.startswith("PROBLEM")]
    assert wrong == ["data_dir", "database", "models.triage", "destination"]
    assert "secret" not in said.out + said.err


def test_a_check_without_a_problem_ends_well(ainode: Ainode, migrated: Path) -> None:
    assert ainode("check", "--config", migrated).status == 0


def test_a_check_writes_only_when_asked(migrated: Path) -> None:
    def events() -> int:
        engine = engine_of(migrated)
        with engine.connect() as connection:
            number = connection.scalar(sa.select(sa.func.count()).where(audit_event.c.action == "check.store"))
        engine.dispose()
        return int(number or 0)

    before = events()
    checked(migrated)
    assert events() == before
    checked(migrated, store=True)
    assert events() == before + 1


def test_a_checkpoint_without_operating_points_is_told_to_run_in_shadow(tmp_path: Path) -> None:
    shutil.copytree(Path(checkup.__file__).parent / "demo" / "checkpoints" / "medsiglip-demo", tmp_path / "other")
    (tmp_path / "other" / "operating_points.json").unlink()
    line = checked(written(tmp_path, models={"triage": {"checkpoint": "./other"}}))["pipeline chest-xray"]
    assert (line.ok, "SHADOW MODE" in line.text) == (True, True)


def two_pipelines(folder: Path) -> dict[str, Any]:
    """The default pipeline for CR and DX, and one for XC with a prompt set that inverts."""
    photographs = {"name": "photographs", "match": {"modalities": ["XC"], "body_parts": []}}
    return {"pipelines": [{}, photographs | {"prompt_set": str(inverted(folder))}]}


def test_a_prompt_set_that_inverts_is_a_problem_of_its_pipeline_alone(tmp_path: Path) -> None:
    lines = checked(written(tmp_path, **two_pipelines(tmp_path)))
    assert [name for name, line in lines.items() if not line.ok] == ["pipeline photographs"]
    assert "REFUSED" in lines["pipeline photographs"].text and "turns round" in lines["pipeline photographs"].text


def test_a_worker_refuses_a_prompt_set_that_inverts_and_loads_the_others(ainode: Ainode, tmp_path: Path) -> None:
    config = written(tmp_path, **two_pipelines(tmp_path))
    loaded = load_models(load(config))
    assert list(loaded.triage) == ["demo-chest"]
    (reason,) = loaded.refused.values()
    assert "finding 'effusion': said in other words its score turns round" in reason
    said = ainode("models", "verify", "--config", config)
    assert (said.status, "REFUSED" in said.out) == (1, True)


def test_a_check_of_the_store_says_what_it_did_and_fails_for_what_is_lost(ainode: Ainode, tmp_path: Path) -> None:
    from node.app import open_database
    from tests.tools.instances import Mailbox, chest

    config = written(tmp_path)
    engine = open_database(load(config))
    mailbox = Mailbox(engine, tmp_path / "data")
    mailbox.receive(chest(STUDY))
    assert "1 instances, 0 reports, 0 files in quarantine, 0 arriving: files and rows agree" in ainode(
        "check", "--store", "--config", config).out
    next((tmp_path / "data" / "instances").rglob("*.dcm")).rename(tmp_path / "gone")
    mailbox.receive(chest(STUDY, 2))
    said = ainode("check", "--store", "--config", config)
    assert (said.status, f"1 instances are lost: their files are gone or damaged; have them sent again: {STUDY}.1"
            in said.out) == (1, True)
    assert ainode("check", "--store", "--config", config).status == 0
    engine.dispose()
