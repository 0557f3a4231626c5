"""Checkpoints: from what the configuration names to a complete local directory.

A directory is used as it is and never makes the node reach for the network. A hub id is
served from the local Hugging Face cache when it is there, so that a restart cannot change
the model; only a missing one is downloaded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from node.domain import RelevanceMethod
from node.errors import ModelUnavailable

DEMO = "demo"
TERMS = "https://developers.google.com/health-ai-developer-foundations/terms"
_WANTED = ("*.json", "*.safetensors", "*.model", "*.jinja")

log = logging.getLogger(__name__)

Fetch = Callable[[str, bool], str]
"""(hub id, local files only) to the path of a snapshot; raises OSError or ValueError."""


@dataclass(frozen=True, kw_only=True)
class _Expected:
    key: str
    hub_id: str
    demo_directory: str
    model_type: str


class ModelKind(Enum):
    """What a checkpoint is loaded as."""

    #: A SigLIP dual encoder, as MedSigLIP is.
    TRIAGE = _Expected(
        key="models.triage.checkpoint",
        hub_id="google/medsiglip-448",
        demo_directory="medsiglip-demo",
        model_type="siglip",
    )
    #: A Gemma 3 that takes images, as MedGemma is.
    FINDINGS = _Expected(
        key="models.findings.checkpoint",
        hub_id="google/medgemma-4b-it",
        demo_directory="medgemma-demo",
        model_type="gemma3",
    )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint says about itself; an unknown ``version`` is empty."""

    name: str
    version: str
    demo: bool
    #: How its scores are explained; ``ainode.json`` may state another method as ``explain``.
    explain: RelevanceMethod = RelevanceMethod.OCCLUSION
    #: It was trained to say in boxes where something is.
    boxes: bool = False


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model by the name its server knows it by, with what is known of it here."""

    #: As it is asked for.
    name: str
    #: As it is shown: that of its manifest, where its checkpoint lies here too.
    shown: str
    version: str
    demo: bool
    #: Of the images it takes, in pixels.
    side: int


MEDGEMMA_SIDE = 896
GIVE_BOXES = frozenset({"google/medgemma-1.5-4b-it"})
"""By name; a checkpoint with an ``ainode.json`` says so itself. The others' boxes overlap with the truth by chance."""


def _from_hub(hub_id: str, local_files_only: bool) -> str:
    return snapshot_download(hub_id, local_files_only=local_files_only, allow_patterns=list(_WANTED))


def resolve_checkpoint(checkpoint: str, kind: ModelKind, fetch: Fetch = _from_hub) -> Path:
    """The directory of ``demo``, of a local path, or of a hub id.

    Raises:
        ModelUnavailable: naming what is missing, where to get it, and which key to set.
    """
    if checkpoint == DEMO:
        directory = Path(str(files("node"))) / "demo" / "checkpoints" / kind.value.demo_directory
    elif _is_path(checkpoint):
        directory = Path(checkpoint).expanduser()
    else:
        directory = _snapshot(checkpoint, kind, fetch)
    _check(directory, kind)
    return directory


def lies_here(checkpoint: str) -> bool:
    """If it is the shipped one or a directory of this machine, rather than a name."""
    return checkpoint == DEMO or Path(checkpoint).is_dir()


def served(checkpoint: str, kind: ModelKind) -> Served:
    """What a server is asked for as ``checkpoint``: a directory, which is read if it is here too, or any other name.

    Raises:
        ModelUnavailable: the directory is here and unusable.
    """
    if not lies_here(checkpoint):
        return Served(name=checkpoint, shown=checkpoint, version="", demo=False, side=MEDGEMMA_SIDE)
    directory = resolve_checkpoint(checkpoint, kind)
    told = manifest(directory)
    return Served(name=str(directory), shown=told.name, version=told.version, demo=told.demo, side=_side(directory))


def gives_boxes(checkpoint: str) -> bool:
    """If a findings model was trained to: by its manifest, or by the name that a hub or a server knows it by.

    Raises:
        ModelUnavailable: its directory is here and unusable.
    """
    if lies_here(checkpoint):
        return manifest(resolve_checkpoint(checkpoint, ModelKind.FINDINGS)).boxes
    return checkpoint in GIVE_BOXES


def _side(directory: Path) -> int:
    """That of its image processor, whose settings lie in one of two layouts."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (directory / name).is_file():
            told = _json(directory / name)
            size = told.get("image_processor", told).get("size", {}).get("height")
            if isinstance(size, int):
                return size
    return MEDGEMMA_SIDE


def manifest(directory: Path) -> Manifest:
    """Name, version and demo flag from ``ainode.json``, else from the hub's layout, ``config.json`` or the folder.

    Raises:
        ModelUnavailable: ``ainode.json`` is there but does not say name, version and demo, or names an unknown method.
    """
    own = directory / "ainode.json"
    if own.is_file():
        return _stated(own)
    if directory.parent.name == "snapshots":  # models--google--medsiglip-448/snapshots/<commit>
        hub_id = directory.parent.parent.name.removeprefix("models--").replace("--", "/")
        return Manifest(name=hub_id, version=directory.name, demo=False, boxes=hub_id in GIVE_BOXES)
    config = _json(directory / "config.json")
    return Manifest(name=str(config.get("_name_or_path") or directory.resolve().name), version="", demo=False)


def _is_path(checkpoint: str) -> bool:
    return checkpoint.startswith((".", "/", "~")) or Path(checkpoint).is_dir()


def _snapshot(hub_id: str, kind: ModelKind, fetch: Fetch) -> Path:
    try:
        cached = Path(fetch(hub_id, True))
        if not missing_files(cached):
            return cached
    except (OSError, ValueError):
        log.info("checkpoint is not in the local cache", extra={"action": "model.download", "checkpoint": hub_id})
    try:
        return Path(fetch(hub_id, False))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(_advice(hub_id, f"cannot be downloaded ({type(error).__name__})", kind)) from error


def missing_files(directory: Path) -> tuple[str, ...]:
    """What is not there of ``config.json``, the processor's configuration and every weight file of the index."""
    wanted = ["config.json", *_weights(directory)]
    missing = [name for name in wanted if not (directory / name).is_file()]
    processors = ("preprocessor_config.json", "processor_config.json")
    if not any((directory / name).is_file() for name in processors):
        missing.append(" or ".join(processors))
    return tuple(missing)


def _weights(directory: Path) -> list[str]:
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    return sorted(set(_json(index).get("weight_map", {}).values()))


def _check(directory: Path, kind: ModelKind) -> None:
    if not directory.is_dir():
        raise ModelUnavailable(_advice(str(directory), "is not a directory", kind))
    if missing := missing_files(directory):
        raise ModelUnavailable(_advice(str(directory), f"lacks {', '.join(missing)}", kind))
    found = _json(directory / "config.json").get("model_type")
    if found != kind.value.model_type:
        problem = f"holds a model of type {found!r}, expected {kind.value.model_type!r}"
        raise ModelUnavailable(_advice(str(directory), problem, kind))


def _advice(what: str, problem: str, kind: ModelKind) -> str:
    expected = kind.value
    return (
        f"{expected.key} = {what}: {problem}. Accept the Health AI Developer Foundations terms of use ({TERMS}) "
        f"for {expected.hub_id} on Hugging Face, download it (hf download {expected.hub_id}) and set {expected.key} "
        f"to that id or to the directory; '{DEMO}' is the shipped synthetic model"
    )


def _stated(file: Path) -> Manifest:
    told = _json(file)
    name, version, demo = told.get("name"), told.get("version"), told.get("demo")
    if not (isinstance(name, str) and name and isinstance(version, str) and isinstance(demo, bool)):
        raise ModelUnavailable(f"{file}: expected name (text), version (text) and demo (true or false), found {told}")
    return Manifest(name=name, version=version, demo=demo, explain=_method(file, told.get("explain")),
                    boxes=told.get("boxes") is True)


def _method(file: Path, stated: object) -> RelevanceMethod:
    try:
        return RelevanceMethod.OCCLUSION if stated is None else RelevanceMethod(stated)
    except ValueError as error:
        known = ", ".join(method.value for method in RelevanceMethod)
        raise ModelUnavailable(f"{file}: explain = {stated!r}, expected one of {known}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(told, dict):
        raise ModelUnavailable(f"{file}: expected a JSON object, found {type(told).__name__}")
    return told
