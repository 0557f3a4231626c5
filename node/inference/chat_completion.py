"""The JSON of a chat completion: what goes to an OpenAI-compatible server and what comes back."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image

from node.domain import JSON, Cost, ModelImage
from node.errors import ModelOutputError, ModelServerError
from node.inference.preprocessing import model_pixels

PATH = "/chat/completions"
YES, NO = "yes", "no"


def text_part(text: str) -> JSON:
    """A text inside a user turn."""
    return {"type": "text", "text": text}


def image_part(image: ModelImage, side: int) -> JSON:
    """The image as the model sees it, as PNG inside the request: its pixels and nothing else. Raises Undecodable."""
    png = io.BytesIO()
    Image.fromarray(model_pixels(image, side, "tf")).save(png, format="PNG", compress_level=1)
    return {"type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"}}


def held_to(schema: JSON) -> JSON:
    """What asks a server to hold its reply to a JSON schema."""
    return {"response_format": {"type": "json_schema",
                                "json_schema": {"name": "answer", "strict": True, "schema": schema}}}


def first_choice(answer: JSON, url: str) -> JSON:
    """The one choice of a chat completion. Raises ModelServerError."""
    choices = answer.get("choices")
    choice: Any = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise ModelServerError(f"{url}: its answer is no chat completion; is it a model server?")
    return choice


def cost_of(answer: JSON, seconds: float) -> Cost:
    """Tokens as the server counts them; 0 where it does not."""
    return Cost(prompt=_count(answer.get("usage"), "prompt_tokens"),
                written=_count(answer.get("usage"), "completion_tokens"), seconds=seconds)


def likely_words(choice: JSON) -> dict[str, float]:
    """The most likely first words with their likelihoods in 0..1; empty where none are told."""
    try:
        top = choice["logprobs"]["content"][0]["top_logprobs"]
        return {str(one["token"]): math.exp(min(0.0, float(one["logprob"]))) for one in top}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def yes_of(words: Mapping[str, float], name: str) -> float:
    """Yes against no among the likely words, whatever their case and blanks; one that is missing counts as 0.

    Raises:
        ModelOutputError: neither is among them.
    """
    said = {word: sum(likely for token, likely in words.items() if token.strip(" \u2581").lower() == word)
            for word in (YES, NO)}
    total = said[YES] + said[NO]
    if not total:
        raise ModelOutputError(f"{name}: neither yes nor no is among the likely replies")
    return said[YES] / total


def _count(usage: object, key: str) -> int:
    found = usage.get(key) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and found >= 0 else 0
