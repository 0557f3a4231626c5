"""Results and source images for the report tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from node.domain import (
    DEMO_NOTICE,
    RESEARCH_NOTICE,
    AnalysisResult,
    Certainty,
    CodedConcept,
    EvidenceImage,
    ModelIdentity,
    OperatingPoint,
    Presence,
    Priority,
    ReportIdentity,
    Side,
    StudyFinding,
)

REAL = Path(__file__).parents[1] / "data" / "real"
SMALL_CR = Path(str(get_testdata_file("dicomdirtests/77654033/CR1/6154")))
POINT = OperatingPoint(present_above=0.6, absent_below=0.4)
STARTED = datetime(2026, 3, 1, 23, 30, 0, tzinfo=UTC)
EFFUSION = CodedConcept("SCT", "60046008", "Pleural effusion")
PNEUMOTHORAX = CodedConcept("SCT", "36118008", "Pneumothorax")
CARDIOMEGALY = CodedConcept("SCT", "8186001", "Cardiomegaly")
NODULE = CodedConcept("SCT", "786838002", "Nodule of lung")
LUNG = CodedConcept("SCT", "39607008", "Lung")
HEART = CodedConcept("SCT", "80891009", "Heart")


def small_cr() -> Dataset:
    """Head of pydicom's bundled radiograph of the spine."""
    return pydicom.dcmread(SMALL_CR, stop_before_pixels=True)


def real_cr(name: str) -> Dataset:
    """Head of a real chest radiograph."""
    return pydicom.dcmread(REAL / name, stop_before_pixels=True)


def uid(number: int) -> str:
    """A valid UID under the root for UUIDs (PS3.5 B.2)."""
    return f"2.25.3000000000000000000000000000000{number:04d}"


def model(name: str, number: int) -> ModelIdentity:
    """A demo model."""
    return ModelIdentity(name=name, version="1.0", sha256=f"{number:064x}", device_uid=uid(number), demo=True)


def finding(key: str, concept: CodedConcept, presence: Presence, score: float | None, image: str) -> StudyFinding:
    """A finding of the lung decided by ``image``, without a side."""
    return StudyFinding(
        finding=key,
        concept=concept,
        site=LUNG,
        presence=presence,
        score=score,
        operating_point=POINT if score is not None else None,
        side=Side.NONE,
        certainty=None,
        agreed=None,
        sop_instance_uid=image if score is not None else "",
    )


def result_for(*heads: Dataset) -> AnalysisResult:
    """One finding of every presence, the first on the right side."""
    first = str(heads[0].SOPInstanceUID)
    present = finding("effusion", EFFUSION, Presence.PRESENT, 0.93, first)
    return AnalysisResult(
        study_instance_uid=str(heads[0].StudyInstanceUID),
        version=1,
        priority=Priority.HIGH,
        findings=(
            replace(present, side=Side.RIGHT, certainty=Certainty.PROBABLE, agreed=False),
            finding("pneumothorax", PNEUMOTHORAX, Presence.ABSENT, 0.02, first),
            replace(finding("cardiomegaly", CARDIOMEGALY, Presence.UNDETERMINED, 0.5, first), site=HEART),
            replace(finding("nodule", NODULE, Presence.NOT_EVALUABLE, None, first), reason="No frontal view"),
        ),
        evidence=tuple(
            EvidenceImage(
                sop_class_uid=str(head.SOPClassUID),
                sop_instance_uid=str(head.SOPInstanceUID),
                series_instance_uid=str(head.SeriesInstanceUID),
            )
            for head in heads
        ),
        triage_model=model("demo-triage", 11),
        findings_model=model("demo-findings", 12),
        prompt_set="demo-chest",
        aggregate="max",
        impression="Right pleural effusion.",
        recommendation="Follow-up radiograph.",
        remarks=("Age of the patient is not known.",),
        notices=(DEMO_NOTICE, RESEARCH_NOTICE),
        started_at=STARTED,
    )


def identity_for(result: AnalysisResult, number: int = 1, language: str = "en") -> ReportIdentity:
    """New UIDs for an object about ``result``; tracking UIDs stay the same for every ``number``."""
    return ReportIdentity(
        sop_instance_uid=uid(100 + number),
        series_instance_uid=uid(200 + number),
        series_number=9900 + number,
        tracking_uids={one.finding: uid(300 + place) for place, one in enumerate(result.findings)},
        observer_uid=uid(401),
        created_at=STARTED,
        language=language,
        software_version="0.1.0",
        node_uid=uid(402),
        ae_title="AINODE",
    )
