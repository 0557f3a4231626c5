"""Our own sentences, in the languages the node speaks. They say "not flagged", never "normal"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.domain import AnalysisResult, Certainty, OperatingPoint, Presence, Priority, Side, StudyFinding


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One language. Fields with braces are format strings."""

    language: str
    ai_output: str
    closing: str
    score_note: str
    unvalidated: str
    presence: dict[Presence, str]
    side: dict[Side, str]
    certainty: dict[Certainty, str]
    priority: dict[Priority, str]
    score: str
    cut_offs: str
    disagreed: str
    flagged: str
    none_flagged: str
    scope: str
    findings_text: str
    recommendation: str
    made_by: str


ENGLISH = Wording(
    language="en",
    ai_output="AI output, not a radiologist's report.",
    closing="This is preliminary AI output. A radiologist must verify it before any use.",
    score_note="An AI score is a rank between 0 and 1, not a probability.",
    unvalidated="The operating points have not been validated for this model.",
    presence={
        Presence.PRESENT: "flagged",
        Presence.ABSENT: "not flagged",
        Presence.UNDETERMINED: "undetermined",
        Presence.NOT_EVALUABLE: "not evaluable",
    },
    side={Side.LEFT: "left", Side.RIGHT: "right", Side.BOTH: "both sides"},
    certainty={
        Certainty.DEFINITE: 'findings model says "definite"',
        Certainty.PROBABLE: 'findings model says "probable"',
        Certainty.POSSIBLE: 'findings model says "possible"',
    },
    priority={
        Priority.STAT: "Priority of the study, the higher of order and AI: emergency.",
        Priority.HIGH: "Priority of the study, the higher of order and AI: urgent.",
        Priority.ROUTINE: "Priority of the study, the higher of order and AI: routine.",
    },
    score="AI score {score}",
    cut_offs="present at or above {present_above:g}, absent below {absent_below:g}",
    disagreed="findings model disagrees with triage",
    flagged="Flagged by AI: {findings}.",
    none_flagged="No finding was flagged.",
    scope="Only the listed findings were looked for; anything else was not assessed.",
    findings_text="Text of the findings model: {text}",
    recommendation="Verification by a radiologist.",
    made_by="Made by model {name} {version}.",
)
KOREAN = Wording(
    language="ko",
    ai_output="인공지능(AI) 출력이며 영상의학과 전문의의 판독문이 아닙니다.",
    closing="예비 AI 출력입니다. 사용 전에 반드시 영상의학과 전문의의 확인이 필요합니다.",
    score_note="AI 점수는 0과 1 사이의 순위 값이며 확률이 아닙니다.",
    unvalidated="이 모델에 대해 판정 기준값이 검증되지 않았습니다.",
    presence={
        Presence.PRESENT: "표시됨",
        Presence.ABSENT: "표시되지 않음",
        Presence.UNDETERMINED: "판정 불가(경계 범위)",
        Presence.NOT_EVALUABLE: "평가 불가",
    },
    side={Side.LEFT: "좌측", Side.RIGHT: "우측", Side.BOTH: "양측"},
    certainty={
        Certainty.DEFINITE: "소견 모델 표현: 확실",
        Certainty.PROBABLE: "소견 모델 표현: 가능성 높음",
        Certainty.POSSIBLE: "소견 모델 표현: 가능성 있음",
    },
    priority={
        Priority.STAT: "검사 우선순위(오더와 AI 중 높은 것): 응급.",
        Priority.HIGH: "검사 우선순위(오더와 AI 중 높은 것): 긴급.",
        Priority.ROUTINE: "검사 우선순위(오더와 AI 중 높은 것): 일반.",
    },
    score="AI 점수 {score}",
    cut_offs="{present_above:g} 이상이면 표시, {absent_below:g} 미만이면 표시하지 않음",
    disagreed="소견 모델과 분류 모델의 결과가 다름",
    flagged="AI가 표시한 소견: {findings}.",
    none_flagged="표시된 소견이 없습니다.",
    scope="나열된 소견만 확인하였으며 그 밖의 것은 평가하지 않았습니다.",
    findings_text="소견 모델의 문장: {text}",
    recommendation="영상의학과 전문의의 확인이 필요합니다.",
    made_by="생성 모델: {name} {version}.",
)
_LANGUAGES = {"en": ENGLISH, "ko": KOREAN}


def wording(language: str) -> Wording:
    """The sentences of ``language``; English where it is not one of ours."""
    return _LANGUAGES.get(language, ENGLISH)


def shown_score(score: float, point: OperatingPoint | None) -> str:
    """``score`` with as few digits as keep it on its own side of the cut-offs: 0.4996 is not shown as 0.50."""
    for digits in range(2, 6):
        shown = f"{score:.{digits}f}"
        if point is None or point.presence(float(shown)) is point.presence(score):
            return shown
    return f"{score:.6f}"


def finding_sentence(finding: StudyFinding, words: Wording) -> str:
    """All that is said about one finding, in one line."""
    head = f"{finding.name(words.language)}: {words.presence[finding.presence]}"
    return "; ".join([head, *_details(finding, words)]) + "."


def _details(finding: StudyFinding, words: Wording) -> Iterator[str]:
    if finding.presence is Presence.PRESENT and finding.side in words.side:
        yield words.side[finding.side]
    if finding.score is not None:
        yield _score(finding.score, finding.operating_point, words)
    if finding.certainty is not None:
        yield words.certainty[finding.certainty]
    if finding.agreed is False:
        yield words.disagreed
    if finding.reason:
        yield finding.reason.rstrip(".")


def _score(score: float, point: OperatingPoint | None, words: Wording) -> str:
    said = words.score.format(score=shown_score(score, point))
    if point is None:
        return said
    cut_offs = words.cut_offs.format(present_above=point.present_above, absent_below=point.absent_below)
    return f"{said} ({cut_offs})"


def flagged_sentence(result: AnalysisResult, words: Wording) -> str:
    """Which findings are flagged, with their side; that none is, is not a statement about the patient."""
    flagged = [finding for finding in result.findings if finding.presence is Presence.PRESENT]
    if not flagged:
        return words.none_flagged
    return words.flagged.format(findings=", ".join(_sided(finding, words) for finding in flagged))


def _sided(finding: StudyFinding, words: Wording) -> str:
    side, name = words.side.get(finding.side), finding.name(words.language)
    return f"{name} ({side})" if side else name


def remarks(result: AnalysisResult, words: Wording) -> list[str]:
    """Sentences a reader must see besides the findings."""
    return [words.scope, words.score_note, *([words.unvalidated] if result.unvalidated else []), *result.remarks]
