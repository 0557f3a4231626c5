"""How the pages say things: durations, points in time, scores, and why a study has its place."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from node.domain import EntryState, Lane, Presence, StudyFinding, WorklistEntry
from node.worklist import PROMOTION_SECONDS, is_promoted

PRESENCE = {
    Presence.PRESENT: "flagged",
    Presence.ABSENT: "not flagged",
    Presence.UNDETERMINED: "undetermined",
    Presence.NOT_EVALUABLE: "not evaluable",
}

STATE = {
    EntryState.RECEIVING: "receiving images",
    EntryState.PROVISIONAL: "provisional, more images may follow",
    EntryState.CONFIRMED: "confirmed",
    EntryState.WITHDRAWN: "withdrawn",
    EntryState.NOT_EVALUABLE: "not evaluable",
    EntryState.FAILED: "failed, read without AI",
}


def duration(seconds: float) -> str:
    """A waiting time as two units at most: ``45 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min" if minutes % 60 else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def clock(milliseconds: int | None) -> str:
    """A measured time: ``0.84 s``, ``12.3 s``, then like a waiting time; a dash when there is none."""
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def moment(iso: str | None) -> str:
    """A point in time in the node's own time zone, with its offset; a dash when there is none."""
    return "–" if iso is None else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def number(score: float) -> str:
    """A score or cut-off in 0..1 as it is written in a report: ``.93``, ``1.00``."""
    return f"{score:.2f}".removeprefix("0")


def score(finding: StudyFinding) -> str:
    """The score with its operating point, as one does not mean anything without the other."""
    if finding.score is None:
        return "no score"
    if finding.operating_point is None:
        return f"score {number(finding.score)} (no operating point)"
    return f"score {number(finding.score)} (flagged at {number(finding.operating_point.present_above)})"


def pretty(value: Any) -> str:
    """A stage's result as indented JSON, not yet escaped."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def place(entry: WorklistEntry, now: float) -> list[str]:
    """Why the study is where it is, as short sentences."""
    if entry.lane is not Lane.FRESH:
        return [f"{entry.lane.value} study"]
    said = [f"order {entry.order_priority.name}"]
    said.append("no AI" if entry.ai_priority is None else f"AI {entry.ai_priority.name}")
    if is_promoted(entry, now):
        said.append(f"moved up after {duration(PROMOTION_SECONDS)}")
    return said


def is_raised(entry: WorklistEntry) -> bool:
    """True when AI placed the study higher than its order did."""
    return entry.lane is Lane.FRESH and entry.priority < entry.order_priority
