"""The form of a findings prompt's file: what it may say, and what that becomes. docs/findings.md tells it in words."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from node.domain import AnswerForm, FindingsPrompt, Rendering, Showing, ShownImages
from node.inference.answer import VOCABULARY
from node.inference.prompt_files import TERM, Key, Part, Text

ALONE = {Showing.IMAGE: 1, Showing.PAIR: 2}
"""Kinds with a fixed number of images."""


class ImagesPart(Part):
    """Which images, and how they are made."""

    shows: Showing = Showing.IMAGE
    at_most: int = Field(1, ge=1, le=125)
    label: str = ""
    rendering: Rendering | None = None
    microns: float = Field(1.0, ge=0.1, le=10.0)
    patch: int = Field(896, ge=64, le=2048)

    @model_validator(mode="after")
    def parts_fit_together(self) -> Self:
        if (fixed := ALONE.get(self.shows)) and "at_most" in self.model_fields_set and self.at_most != fixed:
            raise ValueError(f"at_most: {self.at_most}, but shows: {self.shows.value} is always {fixed}")
        if (self.rendering is None) == (self.shows is Showing.VOLUME):
            raise ValueError("'rendering' (ct_windows or acquisition_range) goes with shows: volume, and only with it")
        return self

    def value(self) -> ShownImages:
        return ShownImages(**self.model_dump() | {"at_most": ALONE.get(self.shows, self.at_most)})


class FindingsPromptFile(Part):
    """A findings prompt."""

    name: Text
    version: Text
    demo: bool
    description: str = ""
    language: Literal["en", "ko"] = "en"
    system: str | None = None
    images: ImagesPart = ImagesPart()
    answer: AnswerForm = AnswerForm.FINDINGS
    vocabulary: dict[Text, Key] = Field(default_factory=lambda: dict(VOCABULARY), min_length=1)
    opening: str = ""
    instruction: Text
    yes_no: str = ""
    with_order: str = ""
    max_new_tokens: int = Field(ge=1, le=8192)

    @model_validator(mode="after")
    def parts_fit_together(self) -> Self:
        if (self.images.shows is Showing.PAIR) != (self.answer is AnswerForm.COMPARISON):
            raise ValueError("shows: pair and answer: comparison go together")
        for name, text in (("yes_no", self.yes_no), ("with_order", self.with_order)):
            if text and text.count(TERM) != 1:
                raise ValueError(f"{name}: needs {TERM} once, where the finding or the quoted order goes")
        return self

    def value(self, sha256: str) -> FindingsPrompt:
        """As the domain has it; ``sha256`` is that of the file."""
        told = self.model_dump(exclude={"description", "images"})
        return FindingsPrompt(sha256=sha256, images=self.images.value(), **told)
