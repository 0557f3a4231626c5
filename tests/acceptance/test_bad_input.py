"""What cannot be evaluated is stored, said, and never reported; a node without its models says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForProcessing,
    KeyObjectSelectionDocumentStorage,
)

from node.demo.pacs import SmallPacs
from node.demo.phantom_dicom import decoy, drawn_dataset
from node.inference.checkpoints import ModelKind, resolve_checkpoint
from tests.tools.documents import document
from tests.tools.radiographs import REAL
from tests.tools.receiver import Sent, association, sent, store
from tests.tools.running_node import AE_TITLE, RunningNode
from tests.tools.site import inverted

SEED = 720
JPEG_XL = UID("1.2.840.10008.1.2.4.112")

Edit = Callable[[FileDataset], None]


def _jpeg_xl(image: FileDataset) -> None:
    image.file_meta.TransferSyntaxUID = JPEG_XL
    image.PixelData = encapsulate([b"\xff\x0a no picture "])
    image["PixelData"].VR = "OB"


def _for_processing(image: FileDataset) -> None:
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    image.PresentationIntentType, image.Modality = "FOR PROCESSING", "DX"


def _quality_control(image: FileDataset) -> None:
    image.QualityControlSubject = "YES"


def _test_name(image: FileDataset) -> None:
    image.PatientName = "TEST^MONTHLY"


EDITED: dict[str, tuple[Edit, str]] = {
    "JPEG XL": (_jpeg_xl, "JPEG XL"),
    "for processing": (_for_processing, "for processing"),
    "quality control": (_quality_control, "test: quality control subject"),
    "test name": (_test_name, "test: the patient name"),
}
"""Drawn chests with one thing wrong, and what the reason has to say."""

REASONS = {name: reason for name, (_, reason) in EDITED.items()} | {
    "truncated": "", "knee": "KNEE", "secondary capture": "secondary capture",
    "report only": "no image in the study", "key objects only": "no image in the study",
}


def drawn(folder: Path, seed: int, edit: Edit = lambda image: None) -> Path:
    image = drawn_dataset(seed, salt=str(folder))
    edit(image)
    path = folder / f"{image.SOPInstanceUID}.dcm"
    image.save_as(path, enforce_file_format=True)
    return path


@dataclass(frozen=True, kw_only=True)
class Case:
    """One instance of a study of its own."""

    study: str
    sent: Sent


def case(path: Path) -> Case:
    return Case(study=str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID), sent=sent(path))


def bad_cases(folder: Path) -> dict[str, Case]:
    found = {name: case(drawn(folder, SEED + number, edit)) for number, (name, (edit, _)) in enumerate(EDITED.items())}
    whole = case(drawn(folder, SEED + 10))
    shorter = replace(whole.sent, data=whole.sent.data[:len(whole.sent.data) * 2 // 3])
    knee = folder / "knee.dcm"
    decoy(SEED, salt=str(folder)).save_as(knee, enforce_file_format=True)
    return found | {
        "truncated": replace(whole, sent=shorter), "knee": case(knee),
        "secondary capture": case(REAL / "SC_ybr_full_422_uncompressed.dcm"),
        "report only": case(REAL / "sr_document.dcm"),
        "key objects only": case(document(
            folder, sop_class_uid=KeyObjectSelectionDocumentStorage, modality="KO", study="1.2.3.77",
            series="1.2.3.77.1")),
    }


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A node after one association with nine bad studies and a good one in the middle."""

    node: RunningNode
    pacs: SmallPacs
    statuses: dict[str, int]
    cases: dict[str, Case]
    entries: dict[str, dict[str, Any]]


GOOD = "good"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("bad-input")
    with ExitStack() as stack:
        pacs = stack.enter_context(SmallPacs("PACS", folder / "pacs"))
        node = stack.enter_context(RunningNode(
            folder / "node", node={"language": "ko"}, destinations=[destination(pacs)]))
        pacs.meet(AE_TITLE, "127.0.0.1", node.port)
        node.start()
        bad = list(bad_cases(folder).items())
        cases = dict([*bad[:4], (GOOD, case(drawn(folder, SEED + 20))), *bad[4:]])
        statuses = send_all(node, cases)
        entries = node.wait_for_studies({
            one.study: {"delivery": "committed"} if name == GOOD else {"state": "not_evaluable"}
            for name, one in cases.items()})
        yield Seen(node=node, pacs=pacs, statuses=statuses, cases=cases, entries=entries)


def destination(pacs: SmallPacs) -> dict[str, Any]:
    return {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port,
            "storage_commitment": True}


def send_all(node: RunningNode, cases: dict[str, Case]) -> dict[str, int]:
    """Everything over one association; the status of each."""
    contexts = dict.fromkeys((one.sent.sop_class_uid, one.sent.transfer_syntax_uid) for one in cases.values())
    with association(node.port, *contexts) as made_one:
        return {name: store(made_one, one.sent) for name, one in cases.items()}


def test_every_instance_is_answered_success_and_kept(seen: Seen) -> None:
    assert set(seen.statuses.values()) == {0x0000}
    paths = [row.path for row in seen.node.rows("SELECT path FROM instance")]
    assert len(paths) == len(seen.statuses)
    assert all((seen.node.data_dir / path).is_file() for path in paths)


@pytest.mark.parametrize("name", REASONS)
def test_the_worklist_says_why_a_study_cannot_be_evaluated(seen: Seen, name: str) -> None:
    entry = seen.entries[seen.cases[name].study]
    assert entry["state"] == "not_evaluable"
    assert entry["reason"]
    assert REASONS[name] in entry["reason"]
    assert (entry["report_state"], entry["delivery"], entry["findings_state"]) == ("withheld", "none", "withheld")
    assert (entry["ai_priority"], entry["time_to_flag_ms"], entry["findings"]) == (None, None, [])


def test_only_the_good_study_is_sent(seen: Seen) -> None:
    kept = sorted((kept.study_instance_uid, kept.sop_class_uid) for kept in seen.pacs.objects.values())
    good = seen.cases[GOOD].study
    assert kept == sorted([(good, Comprehensive3DSRStorage), (good, BasicTextSRStorage)])
    assert set(seen.pacs.received) == set(seen.pacs.objects)
    assert seen.node.rows("SELECT 1 FROM report WHERE study_instance_uid <> :good", good=good) == []


def test_no_study_is_left_waiting(seen: Seen) -> None:
    states = {row.state for row in seen.node.rows("SELECT state FROM run WHERE study_instance_uid <> :good",
                                                  good=seen.cases[GOOD].study)}
    assert states == {"not_evaluable"}


@pytest.mark.parametrize("kind", ["triage", "findings"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_model_directory_is_named_with_what_to_do(tmp_path: Path, kind: str, command: str) -> None:
    missing = tmp_path / "models" / "mine"
    done = RunningNode(tmp_path, models={kind: {"checkpoint": str(missing)}}).ainode(command)
    hub_id = {"triage": "google/medsiglip-448", "findings": "google/medgemma-4b-it"}[kind]
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for words in (str(missing), hub_id, "Health AI Developer Foundations terms of use", "download"):
        assert words in said


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint without the cut-offs that were measured for it."""
    copy = tmp_path_factory.mktemp("models") / "unmeasured"
    shutil.copytree(resolve_checkpoint("demo", ModelKind.TRIAGE), copy)
    (copy / "operating_points.json").unlink()
    return copy


def test_without_operating_points_nothing_is_raised_or_sent(tmp_path: Path, unmeasured: Path) -> None:
    with SmallPacs("PACS", tmp_path / "pacs") as pacs:
        with RunningNode(tmp_path / "node", models={"triage": {"checkpoint": str(unmeasured)}},
                         destinations=[destination(pacs)]) as node:
            node.start()
            one = case(drawn(tmp_path, SEED + 30))
            assert send_all(node, {GOOD: one}) == {GOOD: 0x0000}
            entry = node.wait_for_studies({one.study: {"state": "confirmed", "report_state": "withheld"}})[one.study]
            assert (entry["priority"], entry["ai_priority"], entry["delivery"]) == ("ROUTINE", None, "none")
            assert "shadow" in entry["reason"]
            assert {finding["presence"] for finding in entry["findings"]} == {"undetermined"}
            assert all(finding["score"] is not None for finding in entry["findings"])
        assert pacs.received == ()


def test_check_says_that_a_checkpoint_without_operating_points_runs_in_shadow(
    tmp_path: Path, unmeasured: Path
) -> None:
    done = RunningNode(tmp_path, models={"triage": {"checkpoint": str(unmeasured)}}).ainode("check")
    assert "SHADOW" in done.stdout


def test_a_node_set_to_korean_has_korean_pages_and_an_api_in_codes_with_names(seen: Seen) -> None:
    study = seen.cases[GOOD].study
    page = seen.node.get(f"/studies/{study}").decode()
    assert '<html lang="ko">' in page and "흉막 삼출" in page and "판정 근거 영상" in page
    (effusion,) = (found for found in seen.entries[study]["findings"] if found["finding"] == "effusion")
    assert effusion["concept"] == "Pleural effusion"
    assert effusion["names"] == {"en": "Pleural effusion", "ko": "흉막 삼출"}


def test_a_prompt_set_that_inverts_leaves_its_studies_without_ai_and_the_node_at_work(tmp_path: Path) -> None:
    shoulder = {"name": "shoulder", "match": {"body_parts": ["SHOULDER"]}, "prompt_set": str(inverted(tmp_path))}
    chest = {"name": "chest", "match": {"body_parts": ["CHEST"]}}
    with RunningNode(tmp_path / "node", pipelines=[chest, shoulder]) as node:
        node.start()
        good = case(drawn(tmp_path, SEED + 40))
        bad = case(drawn(tmp_path, SEED + 41, lambda image: setattr(image, "BodyPartExamined", "SHOULDER")))
        assert set(send_all(node, {"good": good, "bad": bad}).values()) == {0x0000}
        shown = node.wait_for_studies({good.study: {"state": "confirmed"}, bad.study: {"state": "not_evaluable"}})
        assert "the prompt set was refused: " in shown[bad.study]["reason"]
        assert "turns round" in json.loads(node.get("/readyz"))["refused"][shoulder["prompt_set"]]
        assert node.actions().count("prompt_set.refused") == 1
