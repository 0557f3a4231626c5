"""Prompt sets: what a model is asked, as versioned YAML files.

The shipped ones are package data in ``prompts/``; a site's own file is named by its path.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from node.config import names_a_file
from node.domain import CodedConcept, Eligibility, FindingsPrompt, Priority, PromptFinding, PromptSet
from node.errors import ConfigurationError
from node.inference.cutoffs import Cutoffs

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class _Part(BaseModel):
    """Base of every part of a file: an unknown key is an error, and texts are not made from numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Concept(_Part):
    scheme: str = Field(min_length=1, max_length=16)
    code: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    def value(self) -> CodedConcept:
        return CodedConcept(self.scheme, self.code, self.meaning)


class _Eligibility(_Part):
    modalities: tuple[_Text, ...]
    body_parts: tuple[_Text, ...]
    views: tuple[_Text, ...]
    minimum_age_years: int = Field(ge=0)


class _Preprocessing(_Part):
    resize: Literal["tf", "pil"]


class _Finding(_Part):
    key: _Key
    concept: _Concept
    site: _Concept
    lateralised: bool
    priority: Literal["STAT", "HIGH", "ROUTINE"]
    positive: tuple[_Text, ...] = Field(min_length=1)
    negative: tuple[_Text, ...] = Field(min_length=1)
    nominal: Cutoffs

    @model_validator(mode="after")
    def prompts_differ(self) -> _Finding:
        if both := set(self.positive) & set(self.negative):
            raise ValueError(f"{sorted(both)} cannot be positive and negative")
        return self

    def value(self) -> PromptFinding:
        return PromptFinding(
            key=self.key,
            concept=self.concept.value(),
            site=self.site.value(),
            lateralised=self.lateralised,
            priority=Priority[self.priority],
            positive=self.positive,
            negative=self.negative,
            nominal=self.nominal.value(),
        )


class _PromptSetFile(_Part):
    name: _Text
    version: _Text
    demo: bool
    description: str = ""
    eligibility: _Eligibility
    preprocessing: _Preprocessing
    aggregate: Literal["max", "mean"]
    findings: tuple[_Finding, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def keys_are_unique(self) -> _PromptSetFile:
        keys = [finding.key for finding in self.findings]
        if len(set(keys)) != len(keys):
            raise ValueError(f"findings: a key occurs twice in {keys}")
        return self


class _FindingsPromptFile(_Part):
    name: _Text
    version: _Text
    demo: bool
    description: str = ""
    system: str | None = None
    instruction: _Text
    max_new_tokens: int = Field(ge=1, le=8192)


def load_prompt_set(name_or_path: str) -> PromptSet:
    """The triage prompt set of that name, or of the file at that path.

    Raises:
        ConfigurationError: naming file, key, value and what is expected.
    """
    told, sha256 = _read(name_or_path, _PromptSetFile, "prompt_set", available())
    return PromptSet(
        name=told.name,
        version=told.version,
        demo=told.demo,
        eligibility=Eligibility(**told.eligibility.model_dump()),
        resize=told.preprocessing.resize,
        aggregate=told.aggregate,
        findings=tuple(finding.value() for finding in told.findings),
        sha256=sha256,
    )


def load_findings_prompt(name_or_path: str) -> FindingsPrompt:
    """The findings prompt of that name, or of the file at that path.

    Raises:
        ConfigurationError: naming file, key, value and what is expected.
    """
    told, sha256 = _read(name_or_path, _FindingsPromptFile, "findings_prompt", available_findings_prompts())
    return FindingsPrompt(sha256=sha256, **told.model_dump(exclude={"description"}))


def available() -> tuple[str, ...]:
    """Names of the shipped triage prompt sets."""
    return _shipped_with("findings")


def available_findings_prompts() -> tuple[str, ...]:
    """Names of the shipped findings prompts."""
    return _shipped_with("instruction")


def _folder() -> Path:
    return Path(str(files("node.inference"))) / "prompts"


def _shipped_with(key: str) -> tuple[str, ...]:
    found = sorted(_folder().glob("*.yaml"))
    return tuple(path.stem for path in found if key in _mapping(path, path.read_bytes()))


_File = TypeVar("_File", bound=_Part)


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
        told = yaml.safe_load(content.decode("utf-8"))
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
