"""The keys of the configuration, read from its types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

CONFIG_FILE = Path(__file__).parents[2] / "config.yaml"


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that has a value, such as ``node.port`` or ``destinations[].name``."""
    for name, field in model.model_fields.items():
        section, inside = _section(field.annotation)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from keys_of(section, f"{prefix}{name}{inside}.")


def _section(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section a key holds, and ``[]`` when it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, "[]"
    return None, ""


def keys_in(value: Any, prefix: str = "") -> Iterator[str]:
    """The same for a value read from YAML."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from keys_in(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from keys_in(value[0], f"{prefix}[]")
    else:
        yield prefix


def with_examples() -> str:
    """``config.yaml`` with its commented examples (lines that start with ``#  ``) taken in."""
    lines = CONFIG_FILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(f" {line[1:]}" if line.startswith("#  ") else line for line in lines)
    return text.replace(": []\n   -", ":\n   -")


def shipped() -> Any:
    """``config.yaml`` as it is."""
    return yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
