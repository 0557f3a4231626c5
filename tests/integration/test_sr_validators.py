"""Independent validators on what we write: no errors on sound objects, and the gate itself finds broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage

from node.domain import ReportKind, ReportObject, Side
from sr_writer import measurement_report, read_back, text_report, tree
from sr_writer.codes import Code
from tests.tools import validators
from tests.tools.bad_headers import BAD_HEADERS, BadHeader
from tests.tools.sr_samples import REAL, SMALL_CR, identity_for, result_for
from tests.tools.validators import Tool, check

BUILDERS = {"measurement": measurement_report.build, "text": text_report.build}
CLASSES = {"measurement": Comprehensive3DSRStorage, "text": BasicTextSRStorage}
SOURCES = {"RG1": REAL / "RG1_J2KI.dcm", "cxr": REAL / "cxr.dcm", "small": SMALL_CR}


def read(path: Path) -> Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def write(report: Dataset, folder: Path) -> Path:
    path = folder / "report.dcm"
    report.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_validator_accepts_the_first_report(kind: str, source: str, tmp_path: Path) -> None:
    head = read(SOURCES[source])
    result = result_for(head)
    report = BUILDERS[kind](result, head, [head], identity_for(result))
    assert check(write(report, tmp_path), SOURCES[source]) == []


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_validator_accepts_a_korean_second_version_with_both_sides(kind: str, tmp_path: Path) -> None:
    head = read(SMALL_CR)
    result = result_for(head)
    result = replace(result, findings=tuple(replace(one, side=Side.BOTH) for one in result.findings), version=2)
    first = identity_for(result, 1)
    replaced = ReportObject(
        kind=ReportKind.MEASUREMENT,
        sop_class_uid=CLASSES[kind],
        sop_instance_uid=first.sop_instance_uid,
        series_instance_uid=first.series_instance_uid,
        study_instance_uid=result.study_instance_uid,
        version=1,
        path="reports/1.dcm",
    )
    identity = replace(identity_for(result, 2, "ko"), predecessor=replaced)
    report = BUILDERS[kind](replace(result, impression="우측 흉수."), head, [head], identity)
    assert check(write(report, tmp_path), SMALL_CR) == []


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_validator_accepts_a_report_in_which_nothing_was_evaluable(kind: str, tmp_path: Path) -> None:
    head = read(SMALL_CR)
    result = result_for(head)
    result = replace(result, findings=result.findings[-1:], evidence=(), findings_model=None, impression="", remarks=())
    report = BUILDERS[kind](result, head, [head], identity_for(result))
    assert check(write(report, tmp_path), SMALL_CR) == []


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda header: header.name)
def test_a_bad_header_costs_no_error_but_those_of_verbatim_identity(
    kind: str, header: BadHeader, tmp_path: Path
) -> None:
    source = header.source()
    result = result_for(source)
    report = BUILDERS[kind](result, source, [source], identity_for(result))
    told = check(write(report, tmp_path), SMALL_CR, (Tool.DCIODVFY,))
    errors = [line for line in told if "Error" in line]
    assert [line for line in errors if not any(keyword in line for keyword in header.complaints)] == []
    assert bool(errors) == bool(header.complaints)


def no_units(report: Dataset) -> None:
    score = tree.child(read_back.groups(report)[0], Code.AI_SCORE)
    assert score is not None
    del score.MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def wrong_relationship(report: Dataset) -> None:
    tracking = tree.child(read_back.groups(report)[0], Code.TRACKING_UID)
    assert tracking is not None
    tracking.RelationshipType = "CONTAINS"


def bad_date(report: Dataset) -> None:
    report["StudyDate"] = DataElement("StudyDate", "DA", "2004-08-26", validation_mode=config.IGNORE)


def num_in_text(report: Dataset) -> None:
    head = read(SMALL_CR)
    result = result_for(head)
    scored = measurement_report.build(result, head, [head], identity_for(result))
    score = tree.child(read_back.groups(scored)[0], Code.AI_SCORE)
    section = tree.child(report, Code.FINDINGS_SECTION)
    assert score is not None and section is not None
    section.ContentSequence.append(score)


def without_language(report: Dataset) -> None:
    report.ContentSequence = [item for item in report.ContentSequence if not tree.is_named(item, Code.LANGUAGE)]


BROKEN: list[tuple[str, Callable[[Dataset], object], Tool]] = [
    ("measurement", lambda report: delattr(report, "CompletionFlag"), Tool.DCIODVFY),
    ("measurement", lambda report: delattr(report, "CurrentRequestedProcedureEvidenceSequence"), Tool.DCIODVFY),
    ("measurement", bad_date, Tool.DCIODVFY),
    ("measurement", no_units, Tool.DSRDUMP),
    ("text", num_in_text, Tool.DSRDUMP),
    ("measurement", lambda report: setattr(report, "PatientID", "SOMEONE-ELSE"), Tool.DCENTVFY),
    (
        "measurement",
        lambda report: setattr(report, "SeriesInstanceUID", read(SMALL_CR).SeriesInstanceUID),
        Tool.DCENTVFY,
    ),
    ("measurement", wrong_relationship, Tool.PIXELMED),
    ("text", without_language, Tool.PIXELMED),
    (
        "measurement",
        lambda report: setattr(report.ContentTemplateSequence[0], "TemplateIdentifier", "9"),
        Tool.PIXELMED,
    ),
    ("measurement", lambda report: setattr(report, "PreliminaryFlag", "FINAL"), Tool.OWN),
]


@pytest.mark.parametrize(("kind", "damage", "tool"), BROKEN)
def test_the_gate_finds_a_broken_object(
    kind: str, damage: Callable[[Dataset], object], tool: Tool, tmp_path: Path
) -> None:
    head = read(SMALL_CR)
    result = result_for(head)
    report = BUILDERS[kind](result, head, [head], identity_for(result))
    damage(report)
    told = check(write(report, tmp_path), SMALL_CR, (tool,))
    assert told and all(line.startswith(tool.value) for line in told)


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    head = read(SMALL_CR)
    result = result_for(head)
    path = write(measurement_report.build(result, head, [head], identity_for(result)), tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for tool in (Tool.DCIODVFY, Tool.DSRDUMP):
        assert check(path, SMALL_CR, (tool,))


def test_a_missing_validator_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(validators.ToolMissing, match="dciodvfy"):
        check(SMALL_CR, SMALL_CR, (Tool.DCIODVFY,))
