from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.domain import EvidenceLevel, OperatingPoint, Presence, Priority, ReviewRule
from node.errors import ConfigurationError
from node.inference import prompt_sets
from sr_writer.codes import is_known

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


SHIPPED = [name for name in prompt_sets.available() if name != "demo-chest"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_set_states_names_evidence_and_the_source_of_its_cut_offs(name: str) -> None:
    told = prompt_sets.load_prompt_set(name)
    assert told.gate is not None and told.review is not None and not told.demo
    assert told.eligibility.minimum_age_years == 18
    for finding in told.findings:
        assert set(finding.names) == {"en", "ko"}, finding.key
        assert "nobody measured" in finding.nominal_source, finding.key
        assert finding.evidence is not EvidenceLevel.SITE, finding.key
        assert len({*finding.positive, *finding.negative}) == len(finding.positive) + len(finding.negative)


@pytest.mark.parametrize("name", prompt_sets.available())
def test_a_shipped_set_has_no_code_that_the_code_table_does_not_have(name: str) -> None:
    concepts = [each for found in prompt_sets.load_prompt_set(name).findings for each in (found.concept, found.site)]
    assert [concept for concept in concepts if not is_known(concept)] == []


def test_the_chest_set_has_the_findings_and_figures_of_the_model_card() -> None:
    figures = {finding.key: finding.published for finding in prompt_sets.load_prompt_set("chest-xray").findings}
    assert len(figures) == 13
    assert figures["pneumothorax"].startswith("zero-shot AUC .862, MedSigLIP model card")


@pytest.mark.parametrize("name", ["ct-chest", "ct-head", "ct-abdomen", "dermatology"])
def test_where_nothing_was_published_nothing_has_evidence(name: str) -> None:
    told = prompt_sets.load_prompt_set(name)
    assert {finding.evidence for finding in told.findings} == {EvidenceLevel.NONE}


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


KIND = {"key": "a", "name": "an image", "prompts": ["image"]}
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
    (lambda told: told.update(aggregate="top_0_mean"), r"aggregate = 'top_0_mean': .*'top_3_mean'"),
    (lambda told: told["findings"][0].pop("positive"), r"'effusion' lacks prompts: .*'terms'"),
    (lambda told: _first(told, evidence="published"), r"needs 'published'"),
    (lambda told: _first(told, evidence="hearsay"), r"findings\.0\.evidence = 'hearsay'"),
    (lambda told: _first(told, against="others"), r"cannot both say"),
    (lambda told: _first(told, names={"fr": "x"}), r"names\.fr"),
    (lambda told: told.update(review={"entropy_above": 2}), r"review\.entropy_above = 2"),
    (lambda told: told.update(gate={"accepted": ["a"], "margin": 0, "domains": [KIND, KIND]}), r"occurs twice"),
    (lambda told: told.update(gate={"accepted": ["b"], "margin": 0, "domains": [KIND, {**KIND, "key": "c"}]}),
     "none of"),
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


TEMPLATES = {"positive": ["{} present", "there is {}"], "negative": ["no {}", "normal X-ray"]}


def _templated(told: dict[str, Any], **finding: Any) -> dict[str, Any]:
    del told["findings"][0]["positive"], told["findings"][0]["negative"]
    _first(told, **finding)
    return told | {"templates": TEMPLATES}


def test_templates_take_every_term_and_say_each_sentence_once(tmp_path: Path) -> None:
    told = _templated(values(), terms=["pleural effusion", "pleural fluid"])
    (finding,) = prompt_sets.load_prompt_set(write(tmp_path, told)).findings
    assert finding.positive == ("pleural effusion present", "pleural fluid present",
                                "there is pleural effusion", "there is pleural fluid")
    assert finding.negative == ("no pleural effusion", "no pleural fluid", "normal X-ray")


def test_listed_prompts_come_before_those_of_templates(tmp_path: Path) -> None:
    told = _templated(values(), terms=["effusion"], negative=["clear lungs"])
    (finding,) = prompt_sets.load_prompt_set(write(tmp_path, told)).findings
    assert (finding.positive, finding.negative) == (("effusion present", "there is effusion"), ("clear lungs",))


def test_grades_are_compared_with_each_other(tmp_path: Path) -> None:
    told = values()
    grades = []
    for key in ("mild", "severe"):
        grade = {**told["findings"][0], "key": key, "positive": [f"{key} disease"], "against": "others"}
        del grade["negative"]
        grades.append(grade)
    mild, severe = prompt_sets.load_prompt_set(write(tmp_path, told | {"findings": grades})).findings
    assert (mild.negative, severe.negative) == (severe.positive, mild.positive)


def test_a_file_may_state_names_evidence_sources_paraphrases_gate_and_review(tmp_path: Path) -> None:
    told = values() | {
        "paraphrases": {"positive": ["image shows {}"], "negative": ["free of {}"]},
        "review": {"entropy_above": 0.97, "margin_below": 0.02}, "aggregate": "top_3_mean",
        "gate": {"accepted": ["chest"], "margin": 0.1, "domains": [
            {"key": "chest", "name": "a chest radiograph", "prompts": ["chest x-ray"]},
            {"key": "knee", "name": "a knee radiograph", "prompts": ["knee x-ray"]}]}}
    _first(told, terms=["effusion"], names={"en": "Effusion", "ko": "흉수"}, evidence="published",
           published="AUC .914", nominal={"present_above": 0.6, "absent_below": 0.4, "source": "nobody"})
    loaded = prompt_sets.load_prompt_set(write(tmp_path, told))
    (finding,) = loaded.findings
    assert (finding.paraphrase_positive, finding.paraphrase_negative) == (("image shows effusion",),
                                                                          ("free of effusion",))
    assert (finding.names["ko"], finding.evidence, finding.nominal_source) == (
        "흉수", EvidenceLevel.PUBLISHED, "nobody")
    assert loaded.gate is not None and loaded.gate.accepted == ("chest",) and len(loaded.gate.domains) == 2
    assert loaded.review == ReviewRule(entropy_above=0.97, margin_below=0.02)


def test_the_demo_set_is_read_as_it_was(tmp_path: Path) -> None:
    """Its operating points belong to its bytes; nothing new may be asked of it."""
    told = prompt_sets.load_prompt_set("demo-chest")
    assert (told.gate, told.review, told.aggregate) == (None, None, "max")
    assert {finding.evidence for finding in told.findings} == {EvidenceLevel.SITE}


@pytest.mark.parametrize("told", [["a"], "text", None])
def test_a_file_without_keys_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(ConfigurationError, match="expected keys such as 'name:'"):
        prompt_sets.load_prompt_set(write(tmp_path, told))


def test_a_findings_prompt_needs_an_instruction(tmp_path: Path) -> None:
    told = {"name": "own", "version": "1", "demo": True, "system": None, "instruction": " ", "max_new_tokens": 10}
    with pytest.raises(ConfigurationError, match="instruction = ' '"):
        prompt_sets.load_findings_prompt(write(tmp_path, told))
