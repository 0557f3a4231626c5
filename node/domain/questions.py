"""What a vision-language model is asked, what it replies, and what it is able to do."""

from __future__ import annotations

from dataclasses import dataclass

from node.domain.instances import ModelImage
from node.domain.words import JSON


@dataclass(frozen=True, kw_only=True)
class Question:
    """One user turn. ``content`` is images and texts in the order the model reads them.

    With ``json_schema`` the reply has to be JSON of that form. At most ``max_new_tokens`` are written.
    """

    content: tuple[ModelImage | str, ...]
    max_new_tokens: int
    system: str | None = None
    json_schema: JSON | None = None

    @property
    def images(self) -> tuple[ModelImage, ...]:
        """Its images, in order."""
        return tuple(part for part in self.content if isinstance(part, ModelImage))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Tokens and seconds of one reply; ``reused`` of the ``prompt`` tokens were there from an earlier question."""

    prompt: int = 0
    reused: int = 0
    written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model wrote. ``truncated``: it was cut off before it ended by itself."""

    text: str
    truncated: bool
    cost: Cost = Cost()


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """How likely the next word is yes rather than no, in 0..1: a rank, not a probability of disease."""

    yes: float
    cost: Cost = Cost()


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a model, or the server in front of it, was seen to do."""

    #: Replies are held to a JSON schema while they are written.
    json_schema: bool
    #: It tells how likely the next word is.
    logprobs: bool
    #: It takes more than one image in a question.
    several_images: bool

    def __str__(self) -> str:
        return ", ".join((
            "replies held to JSON schema" if self.json_schema else "replies NOT held to JSON schema",
            "likelihoods" if self.logprobs else "no likelihoods",
            "several images" if self.several_images else "one image"))
