"""The common way of C-GET and C-MOVE: find what is named, tell the audit, send, and say how far it got."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pynetdicom.events import Event

from handlers.query_retrieve import Archive, Request, note, refusal, refuse
from handlers.statuses import Refused, Status
from handlers.sub_operations import Answers, Progress
from node.domain import AuditEvent, StoreOutcome
from node.results import Audience, Held, Root, select

MOST_OBJECTS = 65535
"""Numbers of sub-operations are two bytes each."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where objects go. ``store`` sends files one after another, and no more once it is closed."""

    ae_title: str
    audience: Audience
    store: Callable[[Sequence[Path]], Generator[StoreOutcome, None, None]]


def retrieve(
    event: Event, archive: Archive, service: str, models: dict[str, Root], planned: Callable[[Request], Plan]
) -> Answers:
    """The responses to one request. ``planned`` raises Refused where there is nowhere to send to."""
    try:
        request = Request.of(event, service, models)
        plan = planned(request)
        held = select(archive.index, request.query, plan.audience)
        if len(held) > MOST_OBJECTS:
            raise Refused(Status.NO_SUB_OPERATION, f"{len(held)} objects at once; ask for less")
        archive.record([
            AuditEvent(action="retrieve.begun", study_instance_uid=study,
                       detail=request.detail(destination=plan.ae_title, instances=list(instances)))
            for study, instances in _by_study(held)])
    except Exception as error:  # noqa: BLE001 - the handler edge
        status, comment = refuse(event, archive, service, error, Status.NO_NUMBER_OF_MATCHES)
        yield Progress(status=status, comment=comment)
        return
    last = Progress(status=Status.PENDING, remaining=len(held))
    try:
        for last in _sent(event, service, archive, plan, held):
            if last.status is Status.PENDING and last.remaining:
                yield last
        last = last if last.status is Status.CANCEL else last.ended()
    finally:  # also where the peer is gone, and this is closed
        note(archive, _answered(request, plan, last))
    yield last


def _by_study(held: Sequence[Held]) -> Iterator[tuple[str, Iterator[str]]]:
    """Study Instance UIDs with the SOP Instance UIDs of theirs."""
    ordered = sorted(held, key=lambda one: one.study_instance_uid)
    for study, objects in groupby(ordered, key=lambda one: one.study_instance_uid):
        yield study, (one.sop_instance_uid for one in objects)


def _sent(event: Event, service: str, archive: Archive, plan: Plan, held: Sequence[Held]) -> Answers:
    """How far it is after each object; the last is cancelled, or has nothing remaining."""
    progress = Progress(status=Status.PENDING, remaining=len(held))
    waiting = [one.sop_instance_uid for one in held]
    with closing(plan.store([archive.data_dir / one.path for one in held])) as outcomes:
        try:
            while waiting and not event.is_cancelled:
                outcome = next(outcomes)
                progress = progress.after(waiting.pop(0), outcome)
                yield progress
        except Exception as error:  # noqa: BLE001 - the handler edge
            _, comment = refusal(service, error, Status.NO_SUB_OPERATION)
            yield replace(progress.failing(waiting), remaining=0, comment=comment)
            return
    if waiting:
        yield replace(progress, status=Status.CANCEL)


def _answered(request: Request, plan: Plan, last: Progress) -> AuditEvent:
    return AuditEvent(action="retrieve.answered", detail=request.detail(
        destination=plan.ae_title, status=f"0x{last.status:04X}", remaining=last.remaining,
        completed=last.completed, failed=last.failed, warning=last.warning, not_sent=list(last.failed_uids)))
