"""The answer of the findings model: its form, and the refusal of anything else.

An answer is taken as it is or not at all. Nothing is repaired, completed or guessed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from node.domain import JSON, Certainty, Finding, Presence, Side
from node.errors import ModelOutputError

#: The words the model may use for a finding, and the finding key of the prompt sets.
VOCABULARY: Mapping[str, str] = MappingProxyType({
    "pleural effusion": "effusion",
    "pneumothorax": "pneumothorax",
    "cardiomegaly": "cardiomegaly",
    "lung consolidation": "consolidation",
    "lung nodule": "nodule",
    "pulmonary edema": "edema",
})

#: Opens and closes the part in which a MedGemma thinks. They are ordinary tokens and survive decoding.
THOUGHT, ANSWER = "<unused94>", "<unused95>"

_PRESENCE = ("present", "absent", "undetermined")
_SIDE = ("left", "right", "both", "none")
_CERTAINTY = ("definite", "probable", "possible")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Statement(_Part):
    """One finding in the model's words."""

    finding: str
    presence: Literal["present", "absent", "undetermined"]
    side: Literal["left", "right", "both", "none"]
    certainty: Literal["definite", "probable", "possible"]

    def value(self, vocabulary: Mapping[str, str]) -> Finding:
        """The same with the finding's key."""
        return Finding(
            finding=vocabulary[self.finding],
            presence=Presence(self.presence),
            side=Side.NONE if self.side == "none" else Side(self.side),
            certainty=Certainty(self.certainty),
        )


class Answer(_Part):
    """A whole answer. Lengths are checked here and not in the grammar, where they cost minutes to compile."""

    findings: Annotated[tuple[Statement, ...], Field(max_length=32, strict=False)]
    impression: str = Field(min_length=1, max_length=2000)
    recommendation: str = Field(max_length=1000)

    @field_validator("impression", "recommendation")
    @classmethod
    def is_plain_text(cls, value: str) -> str:
        if any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in value):
            raise ValueError("control or unassigned characters")
        return value

    @field_validator("impression")
    @classmethod
    def is_not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("blank")
        return value

    @field_validator("findings")
    @classmethod
    def each_once(cls, value: tuple[Statement, ...]) -> tuple[Statement, ...]:
        if len({statement.finding for statement in value}) != len(value):
            raise ValueError("a finding occurs twice")
        return value


def schema(vocabulary: Mapping[str, str] = VOCABULARY) -> JSON:
    """JSON Schema of an answer, its properties in the order they are written."""
    statement = _object(
        finding={"enum": list(vocabulary)},
        presence={"enum": list(_PRESENCE)},
        side={"enum": list(_SIDE)},
        certainty={"enum": list(_CERTAINTY)},
    )
    text = {"type": "string"}
    return _object(findings={"type": "array", "items": statement}, impression=text, recommendation=text)


def parse(text: str, vocabulary: Mapping[str, str] = VOCABULARY) -> Answer:
    """The answer in ``text``, of which a thought is dropped first.

    Raises:
        ModelOutputError: there is no answer, or it is not of the form. The text itself is never in the message.
    """
    try:
        answer = Answer.model_validate_json(without_thought(text))
    except ValidationError as error:
        problem = error.errors(include_input=False, include_context=False)[0]
        told = problem["loc"][:-1] if problem["type"] == "extra_forbidden" else problem["loc"]  # a key is the model's
        where = ".".join(str(part) for part in told) or "answer"
        raise ModelOutputError(f"{where}: {problem['msg']}") from None  # the cause repeats what the model wrote
    for statement in answer.findings:
        if statement.finding not in vocabulary:
            raise ModelOutputError("findings: a name is not in the vocabulary")
    return answer


def without_thought(text: str) -> str:
    """What follows the thought; the whole text when there is none.

    Raises:
        ModelOutputError: the text ends inside the thought.
    """
    if ANSWER in text:
        return text.split(ANSWER, 1)[1].strip()
    if text.lstrip().startswith(THOUGHT):
        raise ModelOutputError("the answer ends inside the model's thought; raise max_new_tokens of the prompt")
    return text.strip()


def _object(**properties: JSON) -> JSON:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
