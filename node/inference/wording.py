"""What a findings prompt becomes: the content of each of its questions."""

from __future__ import annotations

from collections.abc import Sequence

from node.domain import JSON, FindingsPrompt, ModelImage, OrderData, Question, Showing
from node.inference.quoting import quoted

PLACE = "{}"
"""Where a label takes its number, and a question its finding or the order."""
VOCABULARY = "{vocabulary}"
"""Where an instruction takes the words that are allowed for a finding."""


def asked(prompt: FindingsPrompt, images: Sequence[ModelImage], schema: JSON, budget: int) -> Question:
    """The question of the first run, about the images alone."""
    return Question(content=_content(prompt, images, prompt.instruction), system=prompt.system,
                    max_new_tokens=budget, json_schema=schema)


def asked_with_order(
    prompt: FindingsPrompt, images: Sequence[ModelImage], schema: JSON, budget: int, order: OrderData
) -> Question:
    """The question of the second run: the same images, and the order quoted as data."""
    words = prompt.with_order.replace(VOCABULARY, _words(prompt)).replace(PLACE, quoted(order), 1)
    return Question(content=(*_before(prompt, images), words), system=prompt.system,
                    max_new_tokens=budget, json_schema=schema)


def asked_for_yes(prompt: FindingsPrompt, images: Sequence[ModelImage], finding: str) -> Question:
    """Whether a finding is there, to be answered with yes or no; only the first word counts."""
    return Question(content=_content(prompt, images, prompt.yes_no.replace(PLACE, finding)), system=prompt.system,
                    max_new_tokens=1)


def _content(prompt: FindingsPrompt, images: Sequence[ModelImage], last: str) -> tuple[ModelImage | str, ...]:
    return (*_before(prompt, images), last.replace(VOCABULARY, _words(prompt)))


def _before(prompt: FindingsPrompt, images: Sequence[ModelImage]) -> tuple[ModelImage | str, ...]:
    """Opening and images; each of several is followed by its label. The same for every question of a study, so that
    it is computed once."""
    opening = (prompt.opening.replace(VOCABULARY, _words(prompt)),) if prompt.opening else ()
    if len(images) < 2 or not prompt.images.label or prompt.images.shows is Showing.PAIR:
        return (*opening, *images)
    labelled = [(image, prompt.images.label.replace(PLACE, str(number))) for number, image in enumerate(images, 1)]
    return (*opening, *(part for pair in labelled for part in pair))


def _words(prompt: FindingsPrompt) -> str:
    return ", ".join(prompt.vocabulary)
