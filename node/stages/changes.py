"""What a confirmed entry says otherwise than the provisional one did."""

from __future__ import annotations

from collections.abc import Iterable

from node.domain import JSON, EntryState, Priority, StudyFinding, WorklistEntry


def since_provisional(
    before: WorklistEntry | None, version: int, place: Priority | None, findings: Iterable[StudyFinding]
) -> JSON:
    """The priority and the findings that differ, each with what it was and what it is.

    Empty where nothing differs, or where nothing provisional was shown of this version.
    """
    if before is None or before.state is not EntryState.PROVISIONAL or before.version != version:
        return {}
    known = {found.finding: found for found in before.findings}
    changed = [_change(known[found.finding], found) for found in findings
               if found.finding in known and known[found.finding].presence is not found.presence]
    told: JSON = {"findings": changed} if changed else {}
    if before.ai_priority is not place:
        told["priority"] = {"from": _name(before.ai_priority), "to": _name(place)}
    return told


def _change(before: StudyFinding, after: StudyFinding) -> JSON:
    return {"finding": after.finding, "concept": after.concept.meaning, "names": dict(after.names),
            "from": before.presence.value, "to": after.presence.value,
            "score_from": before.score, "score_to": after.score}


def _name(priority: Priority | None) -> str | None:
    return None if priority is None else priority.name
