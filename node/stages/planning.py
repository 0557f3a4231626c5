"""Plan: which images of the study may be shown to which models, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import sqlalchemy as sa

from node import delivery, header, routing, worklist
from node.arrivals import GONE, gone
from node.config import PipelineSection
from node.database import instance, reading, report
from node.domain import (
    JSON,
    EntryState,
    FindingsState,
    ImageHead,
    InstanceState,
    PromptSet,
    ReportState,
)
from node.errors import BadInput
from node.stages.desk import Desk, RunRef, RunState, load_run

NO_IMAGE = "no image in the study"


def plan(desk: Desk, ref: RunRef) -> JSON:
    """Read the heads of all evidence and decide what is eligible."""
    state = load_run(desk.engine, ref)
    heads = _heads(desk, state)
    callers = [found.calling_ae_title for found in state.evidence]
    section = routing.pipeline_for(list(heads.values()), callers, desk.config.pipelines)
    judged = section or desk.config.pipelines[0]
    eligibility = desk.prompt_sets[judged.prompt_set].eligibility
    reasons = {instance_id: routing.decline(head, eligibility, desk.today()) for instance_id, head in heads.items()}
    eligible = [instance_id for instance_id, reason in reasons.items() if not reason]
    lost = _lost(desk, ref)
    if section is None or not eligible:
        return {"end": True, "reason": _why(reasons, heads, section) or lost or _unread(desk, ref) or NO_IMAGE}
    remarks = {remark for instance_id in eligible
               for remark in routing.remarks(heads[instance_id], eligibility, desk.today())}
    remarks |= {f"Not part of this evaluation: {lost}."} if lost else set()
    declined = {heads[instance_id].sop_instance_uid: reason for instance_id, reason in reasons.items() if reason}
    return {"pipeline": section.name, "prompt_set": section.prompt_set, "eligible": eligible,
            "declined": declined, "remarks": sorted(remarks)}


def _heads(desk: Desk, state: RunState) -> dict[int, ImageHead]:
    heads = {}
    for found in state.evidence:
        if found.state.value in GONE:
            continue
        try:
            heads[found.id] = header.read(desk.data_dir / found.path)
        except BadInput:  # it was readable when it arrived; a damaged store must not stop the other images
            continue
    return heads


def _why(reasons: Mapping[int, str], heads: Mapping[int, ImageHead], section: PipelineSection | None) -> str:
    """The reason shown for the whole study: a test patient first, then the first image's own reason."""
    told = [reason for reason in reasons.values() if reason]
    tests = [reason for reason in told if reason.startswith("test")]
    if tests or told:
        return (tests or told)[0]
    if heads and section is None:
        modalities = ", ".join(sorted({head.modality or "unknown" for head in heads.values()}))
        return f"no pipeline takes this study (modality {modalities})"
    return ""


def _lost(desk: Desk, ref: RunRef) -> str:
    """What of the study's evidence is not stored any more."""
    with reading(desk.engine) as connection:
        return gone(connection, ref.study_instance_uid)


def _unread(desk: Desk, ref: RunRef) -> str:
    """Why files of the study could not be read, if there are any."""
    query = sa.select(instance.c.reason).where(
        instance.c.study_instance_uid == ref.study_instance_uid,
        instance.c.state == InstanceState.UNREADABLE.value)
    with reading(desk.engine) as connection:
        reason = connection.execute(query.order_by(instance.c.id)).scalar()
    return f"unreadable: {reason}" if reason else ""


def eligible_late(
    pipelines: Sequence[PipelineSection], prompt_sets: Mapping[str, PromptSet], today: date,
    head: ImageHead, caller: str,
) -> bool:
    """True when an image that arrives after completion is worth a new version."""
    section = routing.pipeline_for([head], [caller], pipelines)
    return section is not None and not routing.decline(head, prompt_sets[section.prompt_set].eligibility, today)


def _was_reported(connection: sa.Connection, ref: RunRef) -> bool:
    """An older version wrote reports, whatever the worklist showed since."""
    query = sa.select(sa.literal(1)).where(
        report.c.study_instance_uid == ref.study_instance_uid, report.c.version < ref.version)
    return connection.execute(query.limit(1)).first() is not None


def commit_declined(desk: Desk, connection: sa.Connection, ref: RunRef, reason: str) -> None:
    """Nothing may be said about this study: the entry says why, and nothing is sent, also of older versions."""
    delivery.supersede(connection, desk.chain, ref.study_instance_uid, ref.version)
    before = worklist.entry(connection, ref.study_instance_uid)
    was_confirmed = before is not None and before.version < ref.version and before.state is EntryState.CONFIRMED
    withdrawn = was_confirmed or _was_reported(connection, ref)
    worklist.advance(
        connection, ref.study_instance_uid, ref.version, worklist.Phase.RANKED,
        state=EntryState.WITHDRAWN if withdrawn else EntryState.NOT_EVALUABLE, reason=reason,
        ai_priority=None, findings=(), findings_state=FindingsState.WITHHELD, report_state=ReportState.WITHHELD)
