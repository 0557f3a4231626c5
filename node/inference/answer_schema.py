"""JSON schemas of typed answers, as lean as grammars want them: lengths are checked afterwards."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from node.domain import JSON


class _Marked(Enum):
    VOCABULARY = "a word of the vocabulary"


Named = Annotated[str, _Marked.VOCABULARY]
"""A text that has to be one of the prompt's own words."""


def schema_of(kind: type[BaseModel], vocabulary: Collection[str]) -> JSON:
    """JSON Schema of ``kind``, its properties in the order they are written.

    Its fields are texts, literals, words of the vocabulary, and tuples of further kinds.
    """
    properties = {name: _schema(field.annotation, _Marked.VOCABULARY in field.metadata, vocabulary)
                  for name, field in kind.model_fields.items()}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _schema(annotation: Any, named: bool, vocabulary: Collection[str]) -> JSON:
    if named:
        return {"enum": list(vocabulary)}
    origin = get_origin(annotation)
    if origin is Literal:
        return {"enum": list(get_args(annotation))}
    if origin is tuple:
        return {"type": "array", "items": schema_of(get_args(annotation)[0], vocabulary)}
    assert annotation is str, f"{annotation} has no JSON schema here"
    return {"type": "string"}
