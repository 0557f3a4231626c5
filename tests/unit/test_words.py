"""The words of the pages: every one has its Korean, and the English ones say what they always said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest

from node.domain import (
    Certainty,
    DeliveryState,
    EntryState,
    FindingsState,
    InstanceState,
    Lane,
    OperatingPoint,
    Presence,
    Priority,
    ReportKind,
    ReportState,
    Side,
)
from node.inference.prompt_sets import available, load_prompt_set
from node.web import korean
from node.web.pages import environment
from node.web.words import STATE, Words
from tests.unit.test_worklist import FINDING

ENGLISH, KOREAN = Words(), Words("ko")
TEMPLATES = Path(korean.__file__).parent / "templates"
SETS: tuple[type[Enum], ...] = (
    Lane, Certainty, InstanceState, EntryState, FindingsState, ReportState, DeliveryState, ReportKind)
FIELD = re.compile(r"%\((\w+)\)\w+|\{(\w+)\}")


def in_templates() -> Iterator[str]:
    """Every text that a template asks for, the form for one and the form for many."""
    made = environment((), ENGLISH)
    for file in TEMPLATES.glob("*.html"):
        for _line, _function, texts in made.extract_translations(file.read_text(encoding="utf-8")):  # type: ignore[attr-defined]
            yield from (text for text in (texts if isinstance(texts, tuple) else (texts,)) if text)


def test_every_text_of_the_templates_has_its_korean_and_nothing_else_is_listed() -> None:
    of_states = {"receiving", "provisional"}  # asked for by their members, too
    asked = set(in_templates())
    assert asked - set(korean.KOREAN) == set()
    listed_elsewhere = {"AI priority", "Studies", "Instances", "Deliveries"} | of_states
    assert set(korean.PAGES) - asked - listed_elsewhere == set()


def test_a_korean_text_has_the_same_places_as_the_english_one() -> None:
    assert {text for text, said in korean.KOREAN.items()
            if sorted(FIELD.findall(text)) != sorted(FIELD.findall(said))} == set()


def test_every_member_of_a_closed_set_has_its_korean() -> None:
    told = {member.value.replace("_", " ") for members in SETS for member in members}
    told |= {priority.name for priority in Priority} | set(STATE.values())
    assert told - set(korean.KOREAN) == set()


def test_texts_that_the_code_says_are_listed() -> None:
    source = (TEMPLATES.parent / "words.py").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:say|gettext)\("([^"]+)"', source)) - set(korean.KOREAN) == set()


@pytest.mark.parametrize(("seconds", "english", "said"), [
    (-1, "0 s", "0초"), (45, "45 s", "45초"), (720, "12 min", "12분"), (3600, "1 h", "1시간"),
    (11_100, "3 h 05 min", "3시간 05분"), (188_000, "2 d 4 h", "2일 4시간")])
def test_a_wait_is_told_in_two_units(seconds: int, english: str, said: str) -> None:
    assert (ENGLISH.duration(seconds), KOREAN.duration(seconds)) == (english, said)


@pytest.mark.parametrize(("milliseconds", "english"), [
    (None, "–"), (840, "0.84 s"), (12_300, "12.3 s"), (61_000, "1 min")])
def test_a_measured_time_has_the_digits_it_deserves(milliseconds: int | None, english: str) -> None:
    assert ENGLISH.clock(milliseconds) == english


def test_a_finding_has_the_name_of_its_prompt_set_in_both_languages() -> None:
    named = replace(FINDING, names={"en": "Effusion", "ko": "흉수"})
    assert (ENGLISH.name(named), KOREAN.name(named)) == ("Effusion", "흉수")
    assert KOREAN.name(replace(FINDING, names={})) == FINDING.concept.meaning


def test_every_shipped_prompt_set_names_its_findings_in_both_languages() -> None:
    assert [(name, finding.key) for name in available() for finding in load_prompt_set(name).findings
            if set(finding.names) != {"en", "ko"}] == []


def test_a_score_stands_with_its_operating_point_in_both_languages() -> None:
    point = OperatingPoint(present_above=0.71, absent_below=0.4)
    scored = replace(FINDING, score=0.93, operating_point=point)
    assert ENGLISH.score(scored) == "score .93 (flagged at .71)"
    assert KOREAN.score(scored) == "점수 .93 (.71부터 표시)"


@pytest.mark.parametrize("words", [ENGLISH, KOREAN])
def test_what_was_not_flagged_is_not_called_normal(words: Words) -> None:
    assert words.presence(Presence.ABSENT) in ("not flagged", "표시되지 않음")


def test_sides_and_priorities_are_told_in_korean() -> None:
    assert [KOREAN.side(side) for side in (Side.LEFT, Side.RIGHT, Side.BOTH, Side.NONE)] == ["좌측", "우측", "양측", ""]
    assert [KOREAN.priority(one) for one in (Priority.STAT, "HIGH", None)] == ["응급", "긴급", "없음"]
