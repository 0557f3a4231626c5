"""How the pages say things, in the language of the node: names, durations, scores, and why a study has its place.

English is what the code and the templates are written in; another language is a table by the English words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from node.domain import (
    EntryState,
    HeatMapState,
    Lane,
    Localisation,
    Presence,
    Priority,
    RelevanceMethod,
    Side,
    StudyFinding,
    WorklistEntry,
)
from node.web.korean import KOREAN
from node.worklist import PROMOTION_SECONDS, is_promoted
from sr_writer.wording import wording

TABLES: Mapping[str, Mapping[str, str]] = {"en": {}, "ko": KOREAN}

STATE = {
    EntryState.RECEIVING: "receiving images",
    EntryState.PROVISIONAL: "provisional, more images may follow",
    EntryState.FAILED: "failed, read without AI",
}
"""States that the dossier says in more than one word."""

HEAT_MAP = {
    HeatMapState.PENDING: "being made; nothing waits for it",
    HeatMapState.RELIABLE: "passed its deletion check",
    HeatMapState.UNRELIABLE: "failed its deletion check",
    HeatMapState.FAILED: "could not be made",
}

LOCALISATION = {
    Localisation.AGREES: "box of the findings model: lies where the score comes from",
    Localisation.UNCONFIRMED: "box of the findings model: unconfirmed",
    Localisation.FAILED: "the findings model gave no box",
}

METHOD = {
    RelevanceMethod.OCCLUSION: "occlusion",
    RelevanceMethod.SINGLE_TOKEN: "each patch token alone",
    RelevanceMethod.GRAD_CAM: "Grad-CAM",
}

VIEWS = {"frame": "As received", "overlay": "With the relevance of the score", "seen": "As the model sees it"}
"""Pictures of an explained image, in the order in which they are shown."""


@dataclass(frozen=True)
class Words:
    """The words of one language; what its table does not have stays English."""

    language: str = "en"

    def say(self, text: str, **values: Any) -> str:
        """``text``, which may hold ``%(name)s`` for ``values``."""
        return self.gettext(text) % values

    def gettext(self, text: str) -> str:
        """As templates ask for it."""
        return TABLES[self.language].get(text, text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """The same where English has a form for one."""
        return self.gettext(one if count == 1 else many)

    def state(self, member: Enum | str) -> str:
        """A member of a closed set, such as a state or a certainty."""
        told = str(member.value if isinstance(member, Enum) else member)
        return self.gettext(told.replace("_", " "))

    def priority(self, value: Priority | str | None) -> str:
        """A priority or its name; None is that AI gave none."""
        return self.gettext("none" if value is None else value if isinstance(value, str) else value.name)

    def name(self, finding: StudyFinding) -> str:
        """What a finding is called."""
        return finding.name(self.language)

    def presence(self, value: Presence | str) -> str:
        """Never "normal": what is not present was not flagged."""
        return wording(self.language).presence[Presence(value)]

    def side(self, value: Side) -> str:
        """'' where nothing is said about it."""
        return wording(self.language).side.get(value, "")

    def entry_state(self, value: EntryState) -> str:
        """The state of a study in a sentence."""
        return self.gettext(STATE[value]) if value in STATE else self.state(value)

    def heat_map(self, state: str) -> str:
        """What became of a heat map."""
        return self.gettext(HEAT_MAP[HeatMapState(state)])

    def localisation(self, state: str) -> str:
        """What a box of the findings model is worth."""
        return self.gettext(LOCALISATION[Localisation(state)])

    def method(self, value: str) -> str:
        """How a heat map was made."""
        return self.gettext(METHOD[RelevanceMethod(value)])

    def views(self) -> dict[str, str]:
        """Names of an explained image's pictures, in order."""
        return {view: self.gettext(name) for view, name in VIEWS.items()}

    def duration(self, seconds: float) -> str:
        """A waiting time as two units at most: ``45 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
        whole = max(0, int(seconds))
        minutes, hours, days = whole // 60, whole // 3600, whole // 86400
        if days:
            return self.say("%(days)s d %(hours)s h", days=days, hours=hours % 24)
        if hours and minutes % 60:
            return self.say("%(hours)s h %(minutes)02d min", hours=hours, minutes=minutes % 60)
        if hours:
            return self.say("%(hours)s h", hours=hours)
        return self.say("%(minutes)s min", minutes=minutes) if minutes else self._seconds(str(whole))

    def clock(self, milliseconds: int | None) -> str:
        """A measured time: ``0.84 s``, ``12.3 s``, then like a waiting time; a dash when there is none."""
        if milliseconds is None:
            return "–"
        seconds = milliseconds / 1000
        if seconds >= 60:
            return self.duration(seconds)
        return self._seconds(f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}")

    def _seconds(self, number: str) -> str:
        return self.say("%(seconds)s s", seconds=number)

    def score(self, finding: StudyFinding) -> str:
        """The score with its operating point, as one does not mean anything without the other."""
        if finding.score is None:
            return self.gettext("no score")
        said = number(finding.score)
        if finding.operating_point is None:
            return self.say("score %(score)s (no operating point)", score=said)
        at = number(finding.operating_point.present_above)
        return self.say("score %(score)s (flagged at %(at)s)", score=said, at=at)

    def place(self, entry: WorklistEntry, now: float) -> list[str]:
        """Why the study is where it is, as short sentences."""
        if entry.lane is not Lane.FRESH:
            return [self.say("study of the %(lane)s lane", lane=self.state(entry.lane))]
        said = [self.say("order %(priority)s", priority=self.priority(entry.order_priority))]
        ai = entry.ai_priority
        said.append(self.gettext("no AI") if ai is None else self.say("AI %(priority)s", priority=self.priority(ai)))
        if is_promoted(entry, now):
            said.append(self.say("moved up after %(wait)s", wait=self.duration(PROMOTION_SECONDS)))
        return said


def moment(iso: str | None) -> str:
    """A point in time in the node's own time zone, with its offset; a dash when there is none."""
    return "–" if iso is None else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def number(score: float) -> str:
    """A score or cut-off in 0..1 as it is written in a report: ``.93``, ``1.00``."""
    return f"{score:.2f}".removeprefix("0")


def pretty(value: Any) -> str:
    """A stage's result as indented JSON, not yet escaped."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def is_raised(entry: WorklistEntry) -> bool:
    """True when AI placed the study higher than its order did."""
    return entry.lane is Lane.FRESH and entry.priority < entry.order_priority
