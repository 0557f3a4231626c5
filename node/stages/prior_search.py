"""What an archive has of a patient's earlier studies, chosen, retrieved and looked at: work that changes no row."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import sqlalchemy as sa

from node import header, priors, routing
from node.arrivals import evidence_of
from node.config import PriorSource
from node.database import instance, now, reading
from node.domain import JSON, ImageHead, InstanceState, ReceivedInstance
from node.errors import BadInput, PeerError
from node.interfaces import Archive
from node.stages.analysis import eligible
from node.stages.desk import Desk, RunRef, load_run

LOOK_SECONDS = 0.1
OVER = "the time limit is over, or the question is settled"


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Who asks, and what for. ``stopping`` ends the wait for what is on its way."""

    desk: Desk
    archive: Archive
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One version's question: of whom, about which images, and until when by the steady clock."""

    source: PriorSource
    heads: Sequence[ImageHead]
    until: float
    found: Sequence[JSON]

    @property
    def current(self) -> ImageHead:
        return self.heads[0]

    @property
    def seconds(self) -> float:
        return self.until - time.monotonic()

    def refusal(self, other: ImageHead, *, seen: bool) -> str:
        return routing.no_prior(self.current, other, single_issuer=self.source.single_issuer, seen=seen)


def find(reception: Reception, arguments: JSON) -> JSON:
    """Ask the archive and choose: the newest studies of the patient, and of them the series that can be compared."""
    question = _question(reception.desk, RunRef.of(arguments))
    if question is None:
        return {"found": [], "rejected": {}, "reason": OVER}
    chosen = _Choice()
    try:
        chosen.reason = _unaskable(question)
        if not chosen.reason:
            studies = reception.archive.find_studies(question.source, question.current, question.seconds)
            _choose(reception.archive, question, studies, chosen)
    except PeerError as error:
        chosen.reason = str(error)
    return {"found": chosen.found, "rejected": chosen.rejected, "reason": chosen.reason}


@dataclass
class _Choice:
    found: list[JSON] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def _choose(archive: Archive, question: _Question, studies: Sequence[ImageHead], chosen: _Choice) -> None:
    if not studies:
        chosen.reason = "the archive has no earlier study"
    for study in sorted(studies, key=_begun, reverse=True):
        if len(chosen.found) == question.source.most:
            return
        # Only series have a Modality: as far as the study is concerned it is the same.
        reason = question.refusal(replace(study, modality=question.current.modality), seen=False)
        alike = [] if reason else _alike(archive, question, study)
        if alike:
            chosen.found.append({"study_instance_uid": study.study_instance_uid, "when": _begun(study).isoformat(),
                                 "series": alike})
        else:
            chosen.rejected[study.study_instance_uid] = reason or "no series of it can be compared"
    if not chosen.found:
        chosen.reason = chosen.reason or "no earlier study matches"


def _alike(archive: Archive, question: _Question, study: ImageHead) -> list[JSON]:
    return [{"series_instance_uid": series.series_instance_uid, "modality": series.modality, "instances": count}
            for series, count in archive.find_series(question.source, study, question.seconds)
            if not question.refusal(series, seen=False)]


def _begun(study: ImageHead) -> datetime:
    return routing.when(study.study_date, study.study_time) or datetime.min


def retrieve(reception: Reception, arguments: JSON) -> JSON:
    """Have the chosen series sent that are not here, wait until they are read, and look at what came."""
    desk, ref = reception.desk, RunRef.of(arguments)
    question = _question(desk, ref)
    if question is None:
        return {"received": [], "rejected": {}, "reason": OVER}
    reason = ""
    for study in question.found:
        try:
            _send_for(reception, question, study)
        except PeerError as error:
            reason = str(error)
    _wait_until_read(reception, question)
    received, rejected = [], dict[str, str]()
    for study in question.found:
        ids, refusal = _judged(desk, question, study)
        if ids:
            received.append({"study_instance_uid": study["study_instance_uid"], "when": study["when"],
                             "instances": ids})
        else:
            rejected[study["study_instance_uid"]] = refusal
    return {"received": received, "rejected": rejected, "reason": reason}


def _send_for(reception: Reception, question: _Question, study: JSON) -> None:
    """A repeated job asks not twice for what is there."""
    for series in study["series"]:
        here = len(_here(reception.desk, study["study_instance_uid"], [series["series_instance_uid"]]))
        if here and here >= (series["instances"] or 0):
            continue
        head = replace(question.current, study_instance_uid=study["study_instance_uid"],
                       series_instance_uid=series["series_instance_uid"], modality=series["modality"])
        reception.archive.retrieve(question.source, head, question.seconds)


def _wait_until_read(reception: Reception, question: _Question) -> None:
    uids = [study["study_instance_uid"] for study in question.found]
    unread = sa.select(sa.literal(1)).where(
        instance.c.study_instance_uid.in_(uids), instance.c.state == InstanceState.RECEIVED.value).limit(1)
    while question.seconds > 0:
        with reading(reception.desk.engine) as connection:
            if connection.execute(unread).first() is None:
                return
        if reception.stopping.wait(LOOK_SECONDS):
            return


def _judged(desk: Desk, question: _Question, study: JSON) -> tuple[list[int], str]:
    """Row ids of the images that are what the archive said they are; none where any is another patient's."""
    uids = [series["series_instance_uid"] for series in study["series"]]
    reasons: dict[int, str] = {}
    for found in _here(desk, study["study_instance_uid"], uids):
        head = _read(desk, found)
        if head is None:
            continue
        other = routing.other_patient(question.current, head, single_issuer=question.source.single_issuer)
        if other:
            return [], f"its images name another patient: {other}"
        reasons[found.id] = question.refusal(head, seen=True)
    kept = [key for key, reason in reasons.items() if not reason]
    return kept, "" if kept else next(iter(reasons.values()), "no image of it came")


def _here(desk: Desk, uid: str, series_uids: Sequence[str]) -> list[ReceivedInstance]:
    wanted = sa.select(instance.c.id).where(
        instance.c.study_instance_uid == uid, instance.c.series_instance_uid.in_(series_uids),
        instance.c.state == InstanceState.ACCEPTED.value, instance.c.evidence)
    with reading(desk.engine) as connection:
        return evidence_of(connection, connection.scalars(wanted).all())


def _question(desk: Desk, ref: RunRef) -> _Question | None:
    """None where nobody waits for the answer any more."""
    state = load_run(desk.engine, ref)
    with reading(desk.engine) as connection:
        row = priors.of_version(connection, ref.study_instance_uid, ref.version)
    if row is None or row.state not in priors.PENDING or state.study.version > ref.version:
        return None
    source = next((one for one in desk.config.priors if one.name == row.source), None)
    heads = [head for found in eligible(state) if (head := _read(desk, found)) is not None]
    if source is None or not heads:
        return None
    left = min(row.deadline_at - now(), source.time_limit_seconds)
    return _Question(source=source, heads=heads, until=time.monotonic() + left, found=row.found)


def _unaskable(question: _Question) -> str:
    single = question.source.single_issuer
    if reason := routing.unaskable(question.current, single_issuer=single):
        return reason
    apart = [other for head in question.heads
             if (other := routing.other_patient(question.current, head, single_issuer=single))]
    return f"images of the study differ in {apart[0]}" if apart else ""


def _read(desk: Desk, found: ReceivedInstance) -> ImageHead | None:
    try:
        return header.read(desk.data_dir / found.path)
    except BadInput:
        return None
