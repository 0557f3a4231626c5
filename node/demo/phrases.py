"""The language the triage model's text tower is taught: many ways to say each meaning, and some that it never sees.

Words are only known once they were trained. What is held out therefore tests two things: familiar words in a frame
never seen, and frames with words never seen. The held-out names are made of familiar words, put together anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.demo import vocabulary
from node.demo.meanings import MEANINGS, Claim, Meaning

#: Further names of each finding, besides those of the vocabulary.
MORE_NAMES: dict[str, tuple[str, ...]] = {
    "effusion": (
        "effusion",
        "fluid in the pleural space",
        "pleural effusions",
        "hydrothorax",
        "layering pleural fluid",
    ),
    "pneumothorax": ("collapse of the lung", "air in the pleural space", "pneumothoraces", "pleural air", "ptx"),
    "cardiomegaly": (
        "cardiac enlargement",
        "enlargement of the heart",
        "an enlarged heart",
        "big heart",
        "a large heart",
        "increased heart size",
    ),
    "consolidation": (
        "consolidation",
        "airspace opacity",
        "pneumonia",
        "airspace disease",
        "consolidated lung",
        "lobar consolidation",
    ),
    "nodule": (
        "nodule",
        "a nodule in the lung",
        "nodules",
        "coin lesion",
        "a lung nodule",
        "pulmonary nodules",
        "nodular opacity",
    ),
    "edema": (
        "edema",
        "oedema",
        "pulmonary oedema",
        "vascular congestion",
        "pulmonary venous congestion",
        "edema of the lung",
        "fluid overload",
    ),
}
#: Never trained: familiar words put together anew.
HELD_OUT_NAMES: dict[str, tuple[str, ...]] = {
    "effusion": ("effusion in the pleural space", "fluid layering"),
    "pneumothorax": ("a collapsed lung with pleural air", "lung collapse"),
    "cardiomegaly": ("heart enlargement", "a big cardiac silhouette"),
    "consolidation": ("consolidation of the lung", "pulmonary consolidation"),
    "nodule": ("a nodular lesion of the lung", "nodule in the lung"),
    "edema": ("edema with congestion", "interstitial oedema"),
}

_SUBJECTS = (
    "a chest x-ray", "chest x-ray", "the chest x-ray", "a chest radiograph", "chest radiograph", "the radiograph",
    "a frontal chest x-ray", "the image", "this image", "an image", "the film", "x-ray of the chest", "an x-ray",
    "the study", "this exam", "the picture", "a photo", "cxr", "the scan", "the lungs", "the patient", "a patient",
)  # fmt: skip
_SHOWING = (
    "with", "showing", "shows", "demonstrates", "demonstrating", "reveals", "has", "consistent with", "suggesting",
    "indicates", "contains", "confirms", "suspicious for", "with evidence of", "with signs of", "positive for",
    "with findings of", "depicts", "that shows", "having", "suggests", "is notable for",
)  # fmt: skip
_SHOWING_NO = (
    "with no", "without", "showing no", "shows no", "demonstrates no", "demonstrating no", "reveals no", "has no",
    "without evidence of", "with no evidence of", "without signs of", "negative for", "free of", "does not show",
    "does not demonstrate", "contains no", "excludes", "without any", "lacks", "not showing", "has not got",
    "does not have", "does not contain", "that shows no", "with absence of", "fails to show", "rules out",
)  # fmt: skip
_ALONE = (
    "{}", "there is {}", "{} is present", "{} present", "{} is seen", "{} is visible", "{} is noted", "{} noted",
    "{} seen", "evidence of {}", "signs of {}", "findings of {}", "findings consistent with {}", "positive for {}",
    "presence of {}", "{} was found", "{} identified", "{} is identified", "yes {}", "{} yes", "{} detected",
    "there are signs of {}", "there appears to be {}", "suspected {}", "it shows {}", "diagnosis {}", "image of {}",
    "{} is evident", "known {}", "impression {}", "has {}", "with {}", "{} can be seen", "{} could be identified",
    "i see {}", "one can see {}", "{} may be seen", "{} is there", "{} can be found",
)  # fmt: skip
_ALONE_NO = (
    "no {}", "there is no {}", "{} is absent", "{} absent", "{} is not seen", "{} is not present", "{} not present",
    "{} not seen", "no evidence of {}", "no sign of {}", "no signs of {}", "without {}", "negative for {}",
    "absence of {}", "{} is not visible", "{} was not found", "{} not identified", "{} is excluded", "{} excluded",
    "without evidence of {}", "free of {}", "not {}", "{} no", "{} not detected", "no {} is seen", "no {} seen",
    "no {} is present", "no {} is identified", "there are no signs of {}", "there is not any {}", "no visible {}",
    "it shows no {}", "{} is ruled out", "{} is negative", "no {} was found", "never {}", "there isn't {}",
    "does not have {}", "no convincing {}", "neither {}", "{} is not evident", "lack of {}",
    "{} cannot be seen", "{} could not be identified", "i do not see {}", "one cannot see {}", "{} can't be seen",
    "cannot see {}", "{} isn't there", "{} can not be found", "{} cannot be found", "cannot find {}",
)  # fmt: skip
_CERTAINLY = ("clearly", "definitely", "certainly", "obviously", "clearly", "indeed")
_WHERE = (
    "on this chest x-ray", "on this image", "in this image", "on the film", "on the chest x-ray", "on this view",
    "in this study", "on the radiograph", "in this patient", "at this time", "in the chest", "on this x-ray",
)  # fmt: skip
_SIDED = (
    "{side} {name}", "{name} on the {side}", "{side} sided {name}", "{side}-sided {name}", "{name} in the {side} lung",
    "{name} of the {side} lung", "{name} on the patient's {side} side", "{side} lung {name}", "{name} to the {side}",
    "{name} {side}",
)  # fmt: skip
_NORMAL = (
    *vocabulary.NORMAL, "normal x-ray", "normal", "normal radiograph", "a healthy chest", "clear lungs",
    "no abnormality", "no abnormal finding", "healthy", "unremarkable chest x-ray", "unremarkable study",
    "nothing abnormal", "normal chest", "no finding", "no findings", "within normal limits",
    "no disease", "without abnormality",
)  # fmt: skip
_ABNORMAL = (
    *vocabulary.ABNORMAL, "abnormal x-ray", "abnormal", "abnormal radiograph", "a diseased chest", "an abnormality",
    "an abnormal finding", "pathology", "pathological chest x-ray", "something abnormal", "abnormal chest",
    "acute findings", "a finding is present", "disease is present", "not normal", "an abnormality is seen",
)  # fmt: skip
#: Words that change nothing; most are meant to be passed over.
_DEGREES = ("small", "large", "mild", "moderate", "severe", "subtle", "acute", "new", "old", "obvious", "focal", "some")
_FILLERS = (
    "frontal", "view", "today", "please", "in", "of", "adult", "report", "doctor", "upright", "portable", "bedside",
    "with", "for", "and", "at", "this", "the", "a", "an", "is", "it", "was", "on", "impression", "grayscale", "medical",
    "clinical", "man", "woman", "hospital", "we", "one", "looks", "like", "ap", "pa", "projection", "erect", "here",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A frame that affirms and one that denies; `{}` takes the name of a finding."""

    positive: str
    negative: str


#: Never trained. Some frame familiar words anew, the others bring words that no training text holds. After a first try,
#: which did not know the second and the fifth, frames like them joined the training; the last two were held out then.
HELD_OUT_PAIRS = (
    Pair(positive="we have found {}", negative="we have found no {}"),
    Pair(positive="{} is clearly present on this chest x-ray", negative="{} is clearly absent on this chest x-ray"),
    Pair(positive="the film is positive for {}", negative="the film is negative for {}"),
    Pair(positive="our radiologist observes {}", negative="our radiologist observes no {}"),
    Pair(positive="{} can be appreciated", negative="{} cannot be appreciated"),
    Pair(positive="this radiograph displays {}", negative="this radiograph does not display {}"),
    Pair(positive="an example of {}", negative="an example without {}"),
    Pair(positive="{} can be recognised", negative="{} cannot be recognised"),
    Pair(positive="{} is evidently present in this picture", negative="{} is evidently absent in this picture"),
)
HELD_OUT_SIDED = ("{name} within the {side} hemithorax", "{name}, located {side}", "there is {name} on the {side} side")


def names(finding: str) -> tuple[str, ...]:
    """Every trained name of a finding."""
    return (*vocabulary.NAMES[finding], *MORE_NAMES[finding])


def phrase(meaning: Meaning, rng: np.random.Generator) -> str:
    """One trained way to say it, drawn at random; now and then with words in it that change nothing."""
    if meaning.claim in (Claim.NORMAL, Claim.ABNORMAL):
        return _filled(_one(rng, _NORMAL if meaning.claim is Claim.NORMAL else _ABNORMAL), rng)
    subject = _one(rng, names(meaning.finding))
    if rng.random() < 0.15:
        subject = f"{_one(rng, _DEGREES)} {subject}"
    sides = {Claim.LEFT: "left", Claim.NOT_LEFT: "left", Claim.RIGHT: "right", Claim.NOT_RIGHT: "right"}
    if side := sides.get(meaning.claim):
        subject = _one(rng, _SIDED).format(side=side, name=subject)
    denied = meaning.claim in (Claim.ABSENT, Claim.NOT_LEFT, Claim.NOT_RIGHT)
    return _filled(_placed(_frame(denied, rng), rng).format(subject), rng)


def _frame(denied: bool, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.3:
        return _one(rng, vocabulary.NEGATIVE if denied else vocabulary.POSITIVE)
    if draw < 0.65:
        return _one(rng, _ALONE_NO if denied else _ALONE)
    return f"{_one(rng, _SUBJECTS)} {_one(rng, _SHOWING_NO if denied else _SHOWING)} {{}}"


def _placed(frame: str, rng: np.random.Generator) -> str:
    """The frame, now and then with where it was seen behind it, and with more certainty."""
    if rng.random() < 0.1 and " is " in frame:
        frame = frame.replace(" is ", f" is {_one(rng, _CERTAINLY)} ", 1)
    return f"{frame} {_one(rng, _WHERE)}" if rng.random() < 0.15 else frame


def _one(rng: np.random.Generator, many: Sequence[str]) -> str:
    return many[int(rng.integers(len(many)))]


def _filled(text: str, rng: np.random.Generator) -> str:
    """The text, two times in five with one to three fillers or made-up words before, in or after it."""
    if rng.random() >= 0.4:
        return text
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        filler = _one(rng, _FILLERS) if rng.random() < 0.4 else _made_up(rng)
        draw = rng.random()
        place = 0 if draw < 0.4 else len(words) if draw < 0.7 else int(rng.integers(len(words) + 1))
        words.insert(place, filler)
    return " ".join(words)


def _made_up(rng: np.random.Generator) -> str:
    """A word of three to nine letters that means nothing."""
    return "".join(chr(ord("a") + int(letter)) for letter in rng.integers(0, 26, int(rng.integers(3, 10))))


def corpus(rng: np.random.Generator, count: int = 6000) -> list[str]:
    """Phrases to learn the pieces of the tokenizer from, every trained word among them."""
    fixed = [*_NORMAL, *_ABNORMAL, *_FILLERS, *_DEGREES, *_SUBJECTS]
    fixed += [f"{subject} {name}" for subject in (*_SHOWING, *_SHOWING_NO) for name in ("nodule",)]
    fixed += [f.format("edema") for f in (*_ALONE, *_ALONE_NO, *vocabulary.POSITIVE, *vocabulary.NEGATIVE)]
    fixed += [name for many in (*MORE_NAMES.values(), *vocabulary.NAMES.values()) for name in many]
    return fixed + [phrase(MEANINGS[i % len(MEANINGS)], rng) for i in range(count)]
