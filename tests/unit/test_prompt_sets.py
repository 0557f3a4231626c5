from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.domain import OperatingPoint, Presence, Priority
from node.errors import ConfigurationError
from node.inference import prompt_sets

SITE = {"scheme": "SCT", "code": "39607008", "meaning": "Lung"}


def values() -> dict[str, Any]:
    finding = {
        "key": "effusion",
        "concept": {"scheme": "SCT", "code": "60046008", "meaning": "Pleural effusion"},
        "site": SITE,
        "lateralised": True,
        "priority": "HIGH",
        "positive": ["effusion present"],
        "negative": ["no effusion"],
        "nominal": {"present_above": 0.6, "absent_below": 0.4},
    }
    return {
        "name": "own",
        "version": "1",
        "demo": False,
        "description": "",
        "eligibility": {"modalities": ["DX"], "body_parts": ["CHEST"], "views": [], "minimum_age_years": 18},
        "preprocessing": {"resize": "tf"},
        "aggregate": "max",
        "findings": [finding],
    }


def write(folder: Path, told: object) -> str:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(told), encoding="utf-8")
    return str(file)


def test_a_file_becomes_a_prompt_set(tmp_path: Path) -> None:
    path = write(tmp_path, values())
    told = prompt_sets.load_prompt_set(path)
    (finding,) = told.findings
    assert (told.name, told.resize, told.aggregate) == ("own", "tf", "max")
    assert told.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert finding.priority is Priority.HIGH
    assert finding.concept.code == "60046008"
    assert finding.nominal == OperatingPoint(present_above=0.6, absent_below=0.4)
    assert finding.nominal.presence(0.5) is Presence.UNDETERMINED


@pytest.mark.parametrize("name", prompt_sets.available())
def test_every_shipped_prompt_set_loads_under_its_own_name(name: str) -> None:
    assert prompt_sets.load_prompt_set(name).name == name


@pytest.mark.parametrize("name", prompt_sets.available_findings_prompts())
def test_every_shipped_findings_prompt_loads_under_its_own_name(name: str) -> None:
    told = prompt_sets.load_findings_prompt(name)
    assert told.name == name and told.instruction and told.max_new_tokens > 0


def test_a_prompt_set_is_not_listed_as_a_findings_prompt() -> None:
    assert not set(prompt_sets.available()) & set(prompt_sets.available_findings_prompts())


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"pipelines\.prompt_set = 'no-such'.*demo-chest"):
        prompt_sets.load_prompt_set("no-such")


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"/no/such\.yaml cannot be read"):
        prompt_sets.load_prompt_set("/no/such.yaml")


def _first(told: dict[str, Any], **changes: object) -> None:
    told["findings"][0].update(changes)


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda told: told.update(aggregate="median"), r"aggregate = 'median': .*'max' or 'mean'"),
    (lambda told: told.update(colour="red"), r"colour = 'red'"),
    (lambda told: told.pop("eligibility"), r"eligibility: Field required"),
    (lambda told: told.update(version=1), r"version = 1: .*string"),
    (lambda told: told["preprocessing"].update(resize="cubic"), r"preprocessing\.resize = 'cubic'"),
    (lambda told: told["findings"].append(told["findings"][0]), r"occurs twice"),
    (lambda told: _first(told, priority="NOW"), r"findings\.0\.priority = 'NOW'"),
    (lambda told: _first(told, positive=[]), r"findings\.0\.positive = \[\]"),
    (lambda told: _first(told, negative=["effusion present"]), r"cannot be positive and negative"),
    (lambda told: _first(told, nominal={"present_above": 0.3, "absent_below": 0.4}), r"must not be below absent_below"),
    (lambda told: _first(told, nominal={"present_above": 1.5, "absent_below": 0.4}), r"present_above = 1\.5"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_value_is_named_with_its_file_and_key(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    told = values()
    change(told)
    with pytest.raises(ConfigurationError, match=rf"own\.yaml: .*{message}"):
        prompt_sets.load_prompt_set(write(tmp_path, told))


@pytest.mark.parametrize("told", [["a"], "text", None])
def test_a_file_without_keys_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(ConfigurationError, match="expected keys such as 'name:'"):
        prompt_sets.load_prompt_set(write(tmp_path, told))


def test_a_findings_prompt_needs_an_instruction(tmp_path: Path) -> None:
    told = {"name": "own", "version": "1", "demo": True, "system": None, "instruction": " ", "max_new_tokens": 10}
    with pytest.raises(ConfigurationError, match="instruction = ' '"):
        prompt_sets.load_findings_prompt(write(tmp_path, told))
