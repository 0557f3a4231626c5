"""Operating points: the cut-offs that were measured for one scorer, and the refusal to use any others.

``operating_points.json`` lies beside the weights::

    {"prompt_set": "...", "scorer_sha256": "...", "points": {"<finding>": {"present_above": 0.7, "absent_below": 0.3}}}
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from node.domain import EvidenceLevel, OperatingPoint, PromptSet
from node.errors import ConfigurationError
from node.inference.cutoffs import Cutoffs

FILE = "operating_points.json"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The cut-offs a model may use. Without any it runs in shadow, and ``shadow_reason`` says why."""

    points: Mapping[str, OperatingPoint] = field(default_factory=lambda: MappingProxyType({}))
    shadow_reason: str = ""
    #: The points are the prompt set's nominal ones: nobody measured them for this model.
    unvalidated: bool = False


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a site may note how the points were measured


class _Point(Cutoffs):
    model_config = ConfigDict(extra="ignore")


class _PointsFile(_Part):
    prompt_set: str
    scorer_sha256: str
    points: dict[str, _Point]


def load(checkpoint_dir: Path, prompt_set: PromptSet, scorer: str, allow_unvalidated: bool) -> Calibration:
    """The points measured for ``scorer`` (hex) and ``prompt_set``; else nominal ones if allowed, else none.

    A finding without evidence has none, whoever states them.

    Raises:
        ConfigurationError: the file cannot be read, or a point is out of order or for an unknown finding.
    """
    usable = {finding.key: finding.nominal for finding in prompt_set.findings
              if finding.evidence is not EvidenceLevel.NONE}
    if not usable:
        return Calibration(shadow_reason=f"no finding of prompt set {prompt_set.name!r} has any evidence")
    measured = _measured(checkpoint_dir / FILE, prompt_set, scorer, set(usable))
    if measured.points or not allow_unvalidated:
        return measured
    return Calibration(points=MappingProxyType(usable), unvalidated=True)


def _measured(file: Path, prompt_set: PromptSet, scorer: str, usable: Set[str]) -> Calibration:
    if not file.is_file():
        return Calibration(shadow_reason=f"{file} does not exist: no cut-off was measured for this checkpoint")
    told = _read(file)
    if told.prompt_set != prompt_set.name:
        reason = f"{file} was measured with prompt set {told.prompt_set!r}, not {prompt_set.name!r}"
        return Calibration(shadow_reason=reason)
    if told.scorer_sha256 != scorer:
        reason = (
            f"{file} was measured with other weights, processor or prompts "
            f"(scorer {told.scorer_sha256[:12]}, loaded {scorer[:12]})"
        )
        return Calibration(shadow_reason=reason)
    if unknown := set(told.points) - {finding.key for finding in prompt_set.findings}:
        raise ConfigurationError(f"{file}: points {sorted(unknown)} are for no finding of {prompt_set.name!r}")
    points = {key: point.value() for key, point in told.points.items() if key in usable}
    reason = "" if points else f"{file}: points is empty, or only for findings without evidence"
    return Calibration(points=MappingProxyType(points), shadow_reason=reason)


def _read(file: Path) -> _PointsFile:
    try:
        return _PointsFile.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise ConfigurationError(f"{file}: {where} = {problem['input']!r}: {problem['msg']}") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
