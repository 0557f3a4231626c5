"""Measurement Group of one finding (TID 1501): presence, AI score with its operating point, site and side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydicom.dataset import Dataset

from node.domain import AnalysisResult, Presence, ReportIdentity, StudyFinding
from node.errors import ReportInvalid
from sr_writer import items
from sr_writer.codes import PRESENCE, SIDE, Code
from sr_writer.items import Relationship
from sr_writer.observer import algorithm
from sr_writer.references import Reference

_OBSERVER = Relationship.HAS_OBS_CONTEXT
_MODIFIER = Relationship.HAS_CONCEPT_MOD


def measurement_group(
    finding: StudyFinding, result: AnalysisResult, images: Mapping[str, Reference], identity: ReportIdentity
) -> Dataset:
    """The group of ``finding``; ``images`` are the evidence by SOP Instance UID.

    The Finding item stands only where the finding is present: beside "Absent", a bare Finding is read as positive
    by software that looks no further.

    Raises:
        ReportInvalid: no tracking UID is given, or the decisive image is not evidence.
    """
    children = [
        *_tracking(finding, result, identity),
        *_named(finding),
        _site(finding),
        *algorithm(result.triage_model),
        *_score(finding, images),
        _presence(finding),
    ]
    return items.container(Code.MEASUREMENT_GROUP, children)


def _tracking(finding: StudyFinding, result: AnalysisResult, identity: ReportIdentity) -> Iterator[Dataset]:
    """The identifier of this finding in this study, the same in every version of the report."""
    uid = identity.tracking_uids.get(finding.finding)
    if not uid:
        raise ReportInvalid(f"finding {finding.finding!r} has no tracking UID: give one per finding of the result")
    yield items.text(Code.TRACKING_IDENTIFIER, f"{result.prompt_set}:{finding.finding}", _OBSERVER)
    yield items.uidref(Code.TRACKING_UID, uid, _OBSERVER)


def _named(finding: StudyFinding) -> Iterator[Dataset]:
    if finding.presence is Presence.PRESENT:
        yield items.code(Code.FINDING, finding.concept)


def _site(finding: StudyFinding) -> Dataset:
    """Where it was looked for; the side only where the finding is present and its side known."""
    side = SIDE.get(finding.side) if finding.presence is Presence.PRESENT else None
    modifiers = [items.code(Code.LATERALITY, side, _MODIFIER)] if side else []
    return items.code(Code.FINDING_SITE, finding.site, _MODIFIER, modifiers)


def _score(finding: StudyFinding, images: Mapping[str, Reference]) -> Iterator[Dataset]:
    """The score under our own code: 111012 Certainty of Finding would claim a calibration that no site has made."""
    if finding.score is not None:
        yield items.num(Code.AI_SCORE, float(finding.score), Code.NO_UNITS, children=_decisive(finding, images))


def _decisive(finding: StudyFinding, images: Mapping[str, Reference]) -> Iterator[Dataset]:
    """The image the score was inferred from (TID 320)."""
    if not finding.sop_instance_uid:
        return
    image = images.get(finding.sop_instance_uid)
    if image is None:
        raise ReportInvalid(
            f"finding {finding.finding!r} was decided by {finding.sop_instance_uid}: it is not evidence"
        )
    decided = replace(image, frame=finding.frame) if image.frame else image  # 0 where there is but one
    yield items.image(Code.SOURCE_OF_MEASUREMENT, decided, Relationship.INFERRED_FROM)


def _presence(finding: StudyFinding) -> Dataset:
    """The answer, with the operating point it was inferred from."""
    point = finding.operating_point
    cut_offs = ((Code.PRESENT_ABOVE, point.present_above), (Code.ABSENT_BELOW, point.absent_below)) if point else ()
    children = [items.num(name, float(cut), Code.NO_UNITS, Relationship.INFERRED_FROM) for name, cut in cut_offs]
    return items.code(finding.concept, PRESENCE[finding.presence], children=children)
