"""The words of the demo models: prompts the triage model was trained on, answers the findings model gives.

These are the phrases that image and text tower learned together. The text tower was then taught many more ways to say
the same (node.demo.phrases); the prompt set `demo-chest` still takes its prompts from here, and a test holds it so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from node.demo.phantom import FINDINGS, LATERALISED, Certainty, Phantom, Side

#: Synonyms of each finding; the first is the one used in answers.
NAMES: dict[str, tuple[str, ...]] = {
    "effusion": ("pleural effusion", "pleural fluid"),
    "pneumothorax": ("pneumothorax", "collapsed lung"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart", "enlarged cardiac silhouette"),
    "consolidation": ("lung consolidation", "airspace consolidation"),
    "nodule": ("lung nodule", "pulmonary nodule"),
    "edema": ("pulmonary edema", "interstitial edema"),
}
POSITIVE = (
    "a chest x-ray with {}",
    "chest x-ray showing {}",
    "there is {}",
    "{} is present",
    "{} present",
    "findings consistent with {}",
    "the image demonstrates {}",
)
NEGATIVE = (
    "a chest x-ray with no {}",
    "chest x-ray without {}",
    "there is no {}",
    "{} is absent",
    "no {}",
    "no evidence of {}",
    "the image demonstrates no {}",
)
SIDED = ("{side} {name}", "{name} on the {side}", "a chest x-ray with {side} {name}")
NORMAL = ("normal chest x-ray", "a normal chest x-ray", "no acute finding")
ABNORMAL = ("abnormal chest x-ray", "an abnormal chest x-ray", "an acute finding")


def positive(finding: str) -> list[str]:
    """Every phrase for its presence."""
    return [template.format(name) for template in POSITIVE for name in NAMES[finding]]


def negative(finding: str) -> list[str]:
    """Every phrase for its absence."""
    return [template.format(name) for template in NEGATIVE for name in NAMES[finding]]


def sided(finding: str, side: Literal["left", "right"]) -> list[str]:
    """Every phrase for its presence on the patient's `side`."""
    return [template.format(side=side, name=name) for template in SIDED for name in NAMES[finding]]


def triage_corpus() -> list[str]:
    """All phrases, to build the triage tokenizer from."""
    phrases = [*NORMAL, *ABNORMAL]
    for finding in FINDINGS:
        phrases += positive(finding) + negative(finding)
        if finding in LATERALISED:
            phrases += sided(finding, "left") + sided(finding, "right")
    return phrases


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One finding as an answer tells it."""

    finding: str
    side: Side
    certainty: Certainty


#: The most urgent finding decides, first match wins.
RECOMMENDATIONS = {
    "pneumothorax": "Immediate clinical review.",
    "edema": "Urgent clinical correlation.",
    "effusion": "Follow-up radiograph.",
    "consolidation": "Follow-up radiograph after treatment.",
    "nodule": "Chest CT.",
    "cardiomegaly": "Echocardiography.",
}
NOTHING = "No acute finding drawn."
NO_RECOMMENDATION = "No recommendation."


def seen(phantom: Phantom) -> list[Seen]:
    """What an ideal reader would list of a phantom."""
    return [Seen(finding=d.finding, side=d.side, certainty=d.certainty) for d in phantom.findings]


def _phrase(item: Seen) -> str:
    name = NAMES[item.finding][0]
    if item.finding not in LATERALISED:
        return name
    return f"{'bilateral' if item.side == 'both' else item.side} {name}"


def impression(items: Sequence[Seen]) -> str:
    """One sentence naming the findings in the order of FINDINGS."""
    if not items:
        return NOTHING
    *first, last = [_phrase(item) for item in items]
    sentence = f"{', '.join(first)} and {last}" if first else last
    return f"{sentence[0].upper()}{sentence[1:]}."


def recommendation(items: Sequence[Seen]) -> str:
    """One sentence out of a small fixed set."""
    found = {item.finding for item in items}
    return next((text for finding, text in RECOMMENDATIONS.items() if finding in found), NO_RECOMMENDATION)


def answer(items: Sequence[Seen]) -> str:
    """The findings model's whole answer: compact JSON, keys in a fixed order."""
    findings = [
        {
            "finding": NAMES[item.finding][0],
            "presence": "present",
            "side": item.side or "none",
            "certainty": item.certainty,
        }
        for item in items
    ]
    told = {"findings": findings, "impression": impression(items), "recommendation": recommendation(items)}
    return json.dumps(told, separators=(",", ":"))
