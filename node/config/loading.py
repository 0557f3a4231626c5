"""From ``config.yaml`` and the environment to settings with absolute paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from node.config.analysis import FindingsModelSection
from node.config.installation import DatabaseSection
from node.config.settings import Config
from node.errors import ConfigurationError

PASSWORD = re.compile(r"://\S*@")
"""User and password of a URL, up to the last sign that may end them."""


def load(path: Path | None = None) -> Config:
    """Read ``path`` (or only defaults and environment) and make every path absolute.

    Raises:
        ConfigurationError: naming the YAML path, the value, and what is expected.
    """
    values = _read(path) if path is not None else {}
    base = (path.resolve().parent if path is not None else Path.cwd())
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigurationError(_explain(path, error)) from error
    except SettingsError as error:
        raise ConfigurationError(f"environment: {error}; a list is given as JSON") from error
    return _anchored(config, base)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name a file with --config") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {_masked(str(error))}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected sections such as 'node:', found {type(values).__name__}")
    return values


def _explain(path: Path | None, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "configuration"
        # What a model as a whole was given is left out: all settings at once help nobody, and hold passwords.
        whole = problem["type"] == "missing" or not problem["loc"]
        shown = "" if whole else f" = {_masked(repr(problem['input']))}"
        lines.append(f"{path or 'defaults'}: {where}{shown}: {_masked(problem['msg'])}")
    return "\n".join(lines)


def _masked(text: str) -> str:
    return PASSWORD.sub("://***@", text)


def _anchored(config: Config, base: Path) -> Config:
    node = config.node.model_copy(update={"data_dir": (base / config.node.data_dir).resolve()})
    url = config.database.url or f"sqlite:///{node.data_dir / 'node.sqlite'}"
    prefix = "sqlite:///"
    if url.startswith(prefix):
        url = f"{prefix}{(base / url.removeprefix(prefix)).resolve()}"
    tls = config.receive.tls
    files = {
        name: (base / value).resolve() for name in ("certificate", "key", "ca") if (value := getattr(tls, name))
    }
    receive = config.receive.model_copy(update={"tls": tls.model_copy(update=files)})
    models = config.models.model_copy(update={
        "triage": config.models.triage.model_copy(update={
            "checkpoint": _checkpoint(config.models.triage.checkpoint, base),
            "operating_points": _folder(config.models.triage.operating_points, base)}),
        "findings": _findings(config.models.findings, base),
    })
    pipelines = tuple(
        one.model_copy(update={"prompt_set": _prompts(one.prompt_set, base),
                               "findings_prompt": _prompts(one.findings_prompt, base),
                               "comparison_prompt": _prompts(one.comparison_prompt, base)})
        for one in config.pipelines)
    database = DatabaseSection(url=url)
    return config.model_copy(update={
        "node": node, "database": database, "receive": receive, "models": models, "pipelines": pipelines})


def _findings(section: FindingsModelSection, base: Path) -> FindingsModelSection:
    server = section.server
    files = {name: (base / value).resolve() for name in ("api_key_file", "ca") if (value := getattr(server, name))}
    return section.model_copy(update={
        "checkpoint": _checkpoint(section.checkpoint, base), "server": server.model_copy(update=files)})


def _prompts(value: str, base: Path) -> str:
    """A file becomes absolute; the names of shipped ones stay."""
    return str((base / Path(value).expanduser()).resolve()) if names_a_file(value) else value


def names_a_file(value: str) -> bool:
    """If a prompt set or findings prompt is told by its path: it has a slash, or ends as YAML files do."""
    return "/" in value or value.endswith((".yaml", ".yml"))


def _folder(value: Path | None, base: Path) -> Path | None:
    return None if value is None else (base / value.expanduser()).resolve()


def _checkpoint(value: str, base: Path) -> str:
    """A path (``./x``, ``/x``, or one that exists) becomes absolute; ``demo`` and hub ids stay."""
    looks_like_path = value.startswith((".", "/", "~")) or (base / value).is_dir()
    return str((base / Path(value).expanduser()).resolve()) if looks_like_path and value != "demo" else value
