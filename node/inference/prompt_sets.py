"""Prompt sets: what a model is asked, as versioned YAML files.

The shipped ones are package data in ``prompts/``; a site's own file is named by its path.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from node.config import names_a_file
from node.domain import FindingsPrompt, PromptSet
from node.errors import ConfigurationError
from node.inference.findings_prompt_files import FindingsPromptFile
from node.inference.prompt_files import Part, PromptSetFile

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads the same, ten times as fast

PROBES = ".probes.npz"
"""End of the name of the probe images that lie beside a prompt set's file, where it has any."""


def load_prompt_set(name_or_path: str) -> PromptSet:
    """The triage prompt set of that name, or of the file at that path.

    Raises:
        ConfigurationError: naming file, key, value and what is expected.
    """
    told, sha256 = _read(name_or_path, PromptSetFile, "prompt_set", available())
    return told.value(sha256, probes=_locate(name_or_path, "prompt_set", available()).with_suffix(PROBES))


def load_findings_prompt(name_or_path: str) -> FindingsPrompt:
    """The findings prompt of that name, or of the file at that path.

    Raises:
        ConfigurationError: naming file, key, value and what is expected.
    """
    told, sha256 = _read(name_or_path, FindingsPromptFile, "findings_prompt", available_findings_prompts())
    return told.value(sha256)


def available() -> tuple[str, ...]:
    """Names of the shipped triage prompt sets."""
    return _shipped_with("findings")


def available_findings_prompts() -> tuple[str, ...]:
    """Names of the shipped findings prompts."""
    return _shipped_with("instruction")


def _folder() -> Path:
    return Path(str(files("node.inference"))) / "prompts"


def _shipped_with(key: str) -> tuple[str, ...]:
    """Told by a line that begins with the key: reading every file as YAML takes a second."""
    found = sorted(_folder().glob("*.yaml"))
    return tuple(path.stem for path in found if f"\n{key}:" in path.read_text(encoding="utf-8"))


_File = TypeVar("_File", bound=Part)


def _read(name_or_path: str, kind: type[_File], key: str, known: tuple[str, ...]) -> tuple[_File, str]:
    path = _locate(name_or_path, key, known)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"pipelines.{key}: {path} cannot be read ({error.strerror})") from error
    try:
        return kind.model_validate(_mapping(path, content)), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        raise ConfigurationError(_explain(path, error)) from error


def _locate(name_or_path: str, key: str, known: tuple[str, ...]) -> Path:
    if names_a_file(name_or_path):
        return Path(name_or_path).expanduser()
    if name_or_path not in known:
        raise ConfigurationError(
            f"pipelines.{key} = {name_or_path!r}: none of that name is shipped; "
            f"use one of {', '.join(known)}, or the path of a YAML file"
        )
    return _folder() / f"{name_or_path}.yaml"


def _mapping(path: Path, content: bytes) -> dict[str, Any]:
    try:
        told = yaml.load(content.decode("utf-8"), _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not YAML in UTF-8: {error}") from error
    if not isinstance(told, dict):
        raise ConfigurationError(f"{path}: expected keys such as 'name:', found {type(told).__name__}")
    return told


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        shown = "" if problem["type"] == "missing" else f" = {problem['input']!r}"
        lines.append(f"{path}: {where}{shown}: {problem['msg']}")
    return "\n".join(lines)
