"""The answer of the findings model: read, and refused where it is not of its form.

An answer is taken as it is or not at all. Nothing is repaired, completed or guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ValidationError

from node.domain import JSON, AnswerForm
from node.errors import ModelOutputError
from node.inference.answer_forms import Abcde, Answer, Comparison, Graded, Report, Told
from node.inference.answer_schema import schema_of

#: The words that a prompt file without a vocabulary allows for a finding, and the finding key of the prompt sets.
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


FORMS: Mapping[AnswerForm, type[Answer | Graded | Comparison]] = MappingProxyType({
    AnswerForm.FINDINGS: Answer, AnswerForm.REPORT: Report, AnswerForm.COMPARISON: Comparison,
    AnswerForm.GRADE: Graded, AnswerForm.ABCDE: Abcde})


def schema(vocabulary: Mapping[str, str] = VOCABULARY, form: AnswerForm = AnswerForm.FINDINGS) -> JSON:
    """JSON Schema of an answer, its properties in the order they are written."""
    return schema_of(FORMS[form], vocabulary)


def parse(
    text: str, vocabulary: Mapping[str, str] = VOCABULARY, form: AnswerForm = AnswerForm.FINDINGS
) -> Told:
    """What the answer in ``text`` says, of which a thought is dropped first.

    Raises:
        ModelOutputError: there is no answer, or it is not of the form. The text itself is never in the message.
    """
    try:
        answer = FORMS[form].model_validate_json(without_thought(text))
    except ValidationError as error:
        problem = error.errors(include_input=False, include_context=False)[0]
        told = problem["loc"][:-1] if problem["type"] == "extra_forbidden" else problem["loc"]  # a key is the model's
        where = ".".join(str(part) for part in told) or "answer"
        raise ModelOutputError(f"{where}: {problem['msg']}") from None  # the cause repeats what the model wrote
    if any(name not in vocabulary for name in answer.names()):
        raise ModelOutputError("findings: a name is not in the vocabulary")
    return answer.told(vocabulary)


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
