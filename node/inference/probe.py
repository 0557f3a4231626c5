"""What a server is able to do, found out by asking it, as no two of them tell it alike."""

from __future__ import annotations

import json
import logging

from node.domain import JSON, Abilities
from node.errors import ModelServerRefused
from node.inference.chat_completion import PATH, first_choice, held_to, likely_words
from node.inference.model_server import ModelServer

WORD = "b7f3"
"""What nobody would say unless held to it."""
SCHEMA: JSON = {"type": "object", "properties": {"probe": {"enum": [WORD]}}, "required": ["probe"],
                "additionalProperties": False}
#: A grey square of 32 x 32 pixels as PNG.
PICTURE = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR42u3NQQEAAAQEMCS/6Erw2w"
           "qsk9SnqWcCgUAgEAgEAoHgygK+PQHAs0oJIwAAAABJRU5ErkJggg==")

log = logging.getLogger(__name__)


def probed(server: ModelServer, model: str) -> Abilities:
    """Three or four short questions without a patient.

    Raises:
        ModelServerRefused: it does not answer the plainest question: wrong key, wrong model name, no chat.
        ModelServerError: it is not there.
    """
    _told(server, _question(model, "Reply with one word."))
    found = Abilities(
        json_schema=_obeys_schema(server, model), logprobs=_tells_likelihoods(server, model),
        several_images=_takes(server, model, 2))
    if not found.several_images and not _takes(server, model, 1):
        raise ModelServerRefused(f"{server.url}: {model} takes no images; serve a model that does")
    log.info("model server: %s", found, extra={"action": "model_server.probed", "model": model})
    return found


def _question(model: str, text: str, pictures: int = 0, tokens: int = 1) -> JSON:
    shown = [{"type": "image_url", "image_url": {"url": PICTURE}}] * pictures
    return {"model": model, "temperature": 0, "max_tokens": tokens,
            "messages": [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]}


def _told(server: ModelServer, body: JSON) -> JSON:
    return first_choice(server.post(PATH, body), server.url)


def _obeys_schema(server: ModelServer, model: str) -> bool:
    """Many take the parameter and ignore it, so the reply decides."""
    asked = _question(model, "Say hello.", tokens=32) | held_to(SCHEMA)
    try:
        content = _told(server, asked)["message"].get("content")
        return isinstance(content, str) and bool(json.loads(content) == {"probe": WORD})
    except (ModelServerRefused, ValueError, RecursionError):
        return False


def _tells_likelihoods(server: ModelServer, model: str) -> bool:
    try:
        choice = _told(server, _question(model, "Yes or no?") | {"logprobs": True, "top_logprobs": 2})
    except ModelServerRefused:
        return False
    return bool(likely_words(choice))


def _takes(server: ModelServer, model: str, pictures: int) -> bool:
    try:
        _told(server, _question(model, "Reply with one word.", pictures))
    except ModelServerRefused:
        return False
    return True
