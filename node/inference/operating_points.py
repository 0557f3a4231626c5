"""Operating points: the cut-offs that were measured for one scorer, and the refusal to use any others.

A file of them names what it was measured with::

    {"prompt_set": "...", "scorer_sha256": "...", "points": {"<finding>": {"present_above": 0.7, "absent_below": 0.3}}}

The site's own folder (``models.triage.operating_points``) is looked at first, then the checkpoint: its folder
``operating_points/`` with a file per prompt set, and ``operating_points.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from node.domain import EvidenceLevel, OperatingPoint, PromptSet
from node.errors import ConfigurationError
from node.inference.cutoffs import Cutoffs

FOLDER = "operating_points"
FILE = f"{FOLDER}.json"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The cut-offs a model may use. Without any it runs in shadow, and ``shadow_reason`` says why."""

    points: Mapping[str, OperatingPoint] = field(default_factory=lambda: MappingProxyType({}))
    shadow_reason: str = ""
    #: The points are the prompt set's nominal ones: nobody measured them for this model.
    unvalidated: bool = False
    #: The file that holds the points; None where nobody measured them.
    file: Path | None = None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a site may note how the points were measured


class _Point(Cutoffs):
    model_config = ConfigDict(extra="ignore")


class _PointsFile(_Part):
    prompt_set: str
    scorer_sha256: str
    points: dict[str, _Point]


def load(
    checkpoint_dir: Path, prompt_set: PromptSet, scorer: str, allow_unvalidated: bool, site_dir: Path | None = None
) -> Calibration:
    """The points measured for ``scorer`` (hex) and ``prompt_set``; else nominal ones if allowed, else none.

    A finding without evidence has none, whoever states them.

    Raises:
        ConfigurationError: a file cannot be read, two are for the same, or a point is out of order or for an unknown
            finding.
    """
    usable = {finding.key: finding.nominal for finding in prompt_set.findings
              if finding.evidence is not EvidenceLevel.NONE}
    if not usable:
        return Calibration(shadow_reason=f"no finding of prompt set {prompt_set.name!r} has any evidence")
    measured = _measured(_places(checkpoint_dir, site_dir), prompt_set, scorer)
    points = {key: point for key, point in measured.points.items() if key in usable}
    if points:
        return Calibration(points=MappingProxyType(points), file=measured.file)
    if allow_unvalidated:
        return Calibration(points=MappingProxyType(usable), unvalidated=True)
    without = f"{measured.file}: points is empty, or only for findings without evidence"
    return Calibration(shadow_reason=measured.shadow_reason or without)


def _places(checkpoint_dir: Path, site_dir: Path | None) -> Iterator[list[Path]]:
    """The files of the site, then those of the checkpoint."""
    if site_dir is not None:
        if not site_dir.is_dir():
            raise ConfigurationError(f"models.triage.operating_points = {site_dir}: is not a directory")
        yield sorted(site_dir.glob("*.json"))
    single = checkpoint_dir / FILE
    yield [*sorted((checkpoint_dir / FOLDER).glob("*.json")), *([single] if single.is_file() else [])]


def _measured(places: Iterator[list[Path]], prompt_set: PromptSet, scorer: str) -> Calibration:
    """The points of the first place that has a file for this scorer and prompt set, or why there are none."""
    read: dict[Path, _PointsFile] = {}
    for place in places:
        told = {file: _read(file) for file in place}
        fitting = [file for file, one in told.items()
                   if (one.prompt_set, one.scorer_sha256) == (prompt_set.name, scorer)]
        if len(fitting) > 1:
            raise ConfigurationError(f"{fitting[0]} and {fitting[1]} are for the same prompt set {prompt_set.name!r} "
                                     "and scorer; keep one")
        if fitting:
            return _points(fitting[0], told[fitting[0]], prompt_set)
        read |= told
    return Calibration(shadow_reason=_why_none(read, prompt_set, scorer))


def _points(file: Path, told: _PointsFile, prompt_set: PromptSet) -> Calibration:
    if unknown := set(told.points) - {finding.key for finding in prompt_set.findings}:
        raise ConfigurationError(f"{file}: points {sorted(unknown)} are for no finding of {prompt_set.name!r}")
    return Calibration(points={key: point.value() for key, point in told.points.items()}, file=file)


def _why_none(read: Mapping[Path, _PointsFile], prompt_set: PromptSet, scorer: str) -> str:
    own = [(file, told) for file, told in read.items() if told.prompt_set == prompt_set.name]
    if own:
        file, told = own[0]
        return (f"{file} was measured with other weights, processor or prompts "
                f"(scorer {told.scorer_sha256[:12]}, loaded {scorer[:12]})")
    if not read:
        return f"no cut-off was measured for this checkpoint: there is no {FILE} and no file in {FOLDER}/"
    return f"no cut-off was measured with prompt set {prompt_set.name!r}, only with {_sets(list(read.values()))}"


def _sets(told: Sequence[_PointsFile]) -> str:
    return ", ".join(sorted({repr(one.prompt_set) for one in told}))


def _read(file: Path) -> _PointsFile:
    try:
        return _PointsFile.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise ConfigurationError(f"{file}: {where} = {problem['input']!r}: {problem['msg']}") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
