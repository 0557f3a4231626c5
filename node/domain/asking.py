"""What a findings prompt asks about a study, and what of its order may be told along with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Showing(Enum):
    """Which images a findings prompt is about."""

    #: The image that decided the study's place.
    IMAGE = "image"
    #: An earlier image and the current one, in time order.
    PAIR = "pair"
    #: Slices of the main acquisition, in order, each followed by its label.
    VOLUME = "volume"
    #: Squares of tissue of the slide, row by row.
    PATCHES = "patches"


class Rendering(Enum):
    """How the values of a volume become the model's eight bits."""

    #: Red, green and blue are three windows in Hounsfield units, as MedGemma 1.5 was trained on CT.
    CT_WINDOWS = "ct_windows"
    #: Black to white between the extremes of the whole acquisition, as it was trained on MR.
    ACQUISITION_RANGE = "acquisition_range"


class AnswerForm(Enum):
    """What an answer consists of."""

    #: Findings, impression, recommendation.
    FINDINGS = "findings"
    #: The same with an urgency.
    REPORT = "report"
    #: Per finding better, same or worse, and an impression.
    COMPARISON = "comparison"
    #: One grade of the vocabulary, impression, recommendation.
    GRADE = "grade"
    #: Findings with the five ABCDE criteria of a skin lesion.
    ABCDE = "abcde"


class Change(Enum):
    """What became of a finding since the earlier image."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"


class Urgency(Enum):
    """How soon somebody should look, in the model's words. It may ask for review and lowers nobody's place."""

    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"


class Criterion(Enum):
    """What a picture says about one of the ABCDE criteria."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_ASSESSABLE = "not assessable"


@dataclass(frozen=True, kw_only=True)
class ShownImages:
    """Which images, how many at most, and how they are made; ``label`` follows each of several, ``{}`` its number."""

    shows: Showing = Showing.IMAGE
    at_most: int = 1
    label: str = ""
    rendering: Rendering | None = None
    #: Of patches: micrometres per pixel, and pixels of a side.
    microns: float = 1.0
    patch: int = 896


@dataclass(frozen=True, kw_only=True)
class FindingsPrompt:
    """What the findings model is asked; ``sha256`` is that of its file.

    ``opening`` goes before the images, ``instruction`` after them, as the last thing said.
    """

    name: str
    version: str
    demo: bool
    system: str | None
    instruction: str
    max_new_tokens: int
    sha256: str
    answer: AnswerForm = AnswerForm.FINDINGS
    images: ShownImages = ShownImages()
    opening: str = ""
    #: Words the model may use for a finding, with the key it has in triage prompt sets.
    vocabulary: Mapping[str, str] = field(default_factory=dict)
    #: The question whose answer is yes or no, ``{}`` is the finding; empty where it is not asked.
    yes_no: str = ""
    #: The instruction of the second run, ``{}`` is the quoted order; empty where there is none.
    with_order: str = ""
    #: RFC 5646 tag of the language asked for.
    language: str = "en"


@dataclass(frozen=True, kw_only=True)
class OrderData:
    """What a model may be told of the patient and the order: no name, no identifier, no date.

    ``indication`` is free text that others wrote. It is data wherever it goes, and never an instruction.
    """

    age_years: int | None = None
    sex: str = ""
    indication: str = field(default="", repr=False)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is known."""
        told = {"age": self.age_years is not None, "sex": bool(self.sex), "indication": bool(self.indication)}
        return tuple(name for name, known in told.items() if known)
