"""The shipped file states the defaults; a wrong setting is answered with path, value and what is expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from node.config import Config, load
from node.domain import IntendedUse, ReportProfile
from node.errors import ConfigurationError
from tests.tools.settings import CONFIG_FILE, keys_in, keys_of, shipped, with_examples


@pytest.fixture
def write(tmp_path: Path):
    """Writes a configuration file and gives its path."""

    def to_file(text: str) -> Path:
        path = tmp_path / "node.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_the_shipped_file_states_every_default() -> None:
    assert shipped() == Config().model_dump(mode="json")


def test_the_shipped_file_and_its_examples_show_every_key_there_is() -> None:
    assert set(keys_in(yaml.safe_load(with_examples()))) == set(keys_of(Config))


def test_the_examples_in_the_shipped_file_are_valid(write) -> None:
    (destination,) = load(write(with_examples())).destinations
    assert destination.name == "PACS"
    assert destination.storage_commitment


def test_every_key_in_the_shipped_file_has_a_comment() -> None:
    lines = with_examples().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"\s*(- )?[a-z_]+:", line)]
    assert [lines[n] for n in keys if "#" not in lines[n] and not lines[n - 1].lstrip().startswith("#")] == []


def test_no_file_means_the_defaults_beside_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load()
    assert config.node.data_dir == tmp_path / "data"
    assert config.database.url == f"sqlite:///{tmp_path}/data/node.sqlite"


def test_an_empty_file_means_the_defaults(write) -> None:
    assert load(write("")).receive == Config().receive


def test_paths_are_relative_to_the_file(write, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    config = load(write("""
        node: {data_dir: store}
        database: {url: "sqlite:///rows.db"}
        receive: {tls: {certificate: node.pem}}
        models: {triage: {checkpoint: weights, operating_points: cuts}, findings: {checkpoint: ./absent}}
    """))
    assert config.node.data_dir == tmp_path / "store"
    assert config.database.url == f"sqlite:///{tmp_path}/rows.db"
    assert config.receive.tls.certificate == tmp_path / "node.pem"
    assert config.models.triage.checkpoint == str(tmp_path / "weights")
    assert config.models.triage.operating_points == tmp_path / "cuts"
    assert config.models.findings.checkpoint == str(tmp_path / "absent")


def test_demo_and_hub_names_stay_names() -> None:
    assert load(CONFIG_FILE).models.triage.checkpoint == "demo"
    assert Config(models={"triage": {"checkpoint": "google/medsiglip-448"}}).models.triage.checkpoint.count("/") == 1


def test_the_environment_overrides_the_file(write, monkeypatch) -> None:
    monkeypatch.setenv("AINODE__NODE__PORT", "104")
    monkeypatch.setenv("AINODE__MODELS__TRIAGE__DTYPE", "bfloat16")
    config = load(write("node: {port: 2000, ae_title: FILE}"))
    assert (config.node.port, config.node.ae_title) == (104, "FILE")
    assert config.models.triage.dtype == "bfloat16"


def test_a_list_in_the_environment_that_is_no_json_is_named(monkeypatch) -> None:
    monkeypatch.setenv("AINODE__DESTINATIONS", "PACS")
    with pytest.raises(ConfigurationError, match=r'environment: .*"destinations".* JSON'):
        load()


@pytest.mark.parametrize(("text", "path", "value", "expected"), [
    ("node: {port: 99999}", "node.port", "99999", "less than or equal to 65535"),
    ("node: {ae_title: SEVENTEEN_LETTERS}", "node.ae_title", "SEVENTEEN_LETTERS", "at most 16 characters"),
    ("study: {quiet_seconds: soon}", "study.quiet_seconds", "soon", "valid number"),
    ("node: {intended_use: fun}", "node.intended_use", "fun", "'research' or 'clinical'"),
    ("receive: {engine: faster}", "receive.engine", "faster", "'fast' or 'standard'"),
    ("destinations: [{name: A, ae_title: B, host: h, port: 0}]", "destinations.0.port", "0", "greater than or equal"),
    ("reports: {kinds: [novel]}", "reports.kinds.0", "novel", "'measurement_report'"),
    ("delivery: {retry_seconds: []}", "delivery.retry_seconds", "[]", "at least one delay"),
])
def test_a_wrong_value_is_named_with_path_value_and_expectation(write, text, path, value, expected) -> None:
    file = write(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    for part in (str(file), path, value, expected):
        assert part in str(caught.value)


@pytest.mark.parametrize(("text", "path"), [
    ("nodes: {}", "nodes"),
    ("node: {prot: 104}", "node.prot"),
    ("destinations: [{name: A, ae_title: B, host: h, port: 1, aet: C}]", "destinations.0.aet"),
])
def test_an_unknown_key_is_refused(write, text, path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{re.escape(path)}\b.*not permitted"):
        load(write(text))


def test_every_mistake_is_told_at_once(write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write("node: {port: -1}\nweb: {port: -1}"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(("text", "said"), [("- a list", "expected sections"), ("a: [", "is not YAML")])
def test_a_file_that_is_not_sections_is_refused(write, text, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(write(text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load(tmp_path / "absent.yaml")


def test_settings_do_not_change_after_they_were_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().node.port = 104  # type: ignore[misc]


def test_clinical_use_needs_jurisdiction_and_authorisation(write) -> None:
    with pytest.raises(ConfigurationError, match="jurisdiction and authorisation_reference"):
        load(write("node: {intended_use: clinical}"))


def test_clinical_use_and_unvalidated_models_exclude_each_other(write) -> None:
    clinical = "node: {intended_use: clinical, jurisdiction: KR, authorisation_reference: '1'}"
    with pytest.raises(ConfigurationError, match=r"allow_unvalidated.*research only"):
        load(write(f"{clinical}\nmodels: {{allow_unvalidated: true}}"))
    load(write("models: {allow_unvalidated: true}"))


@pytest.mark.parametrize(("text", "key"), [
    ("worklist: {hl7: {host: h}}", "worklist.hl7"),
    ("worklist: {fhir: 'http://h'}", "worklist.fhir"), ("worklist: {ups: on}", "worklist.ups"),
    ("worklist: {webhook: ['http://h']}", "worklist.webhook"), ("audit: {syslog: 'h:514'}", "audit.syslog"),
])
def test_what_is_not_built_is_refused_by_name(write, text, key) -> None:
    with pytest.raises(ConfigurationError, match=rf"{re.escape(key)} = .*not in this version"):
        load(write(text))


@pytest.mark.parametrize("off", ["off", "null", "''", "'off'", "{}", "[]"])
def test_what_is_not_built_can_be_off(write, off) -> None:
    config = load(write(f"priors: {off}\nworklist: {{hl7: {off}}}\naudit: {{syslog: {off}}}"))
    assert (config.priors, config.worklist.hl7, config.audit.syslog) == ((), None, None)


@pytest.mark.parametrize("text", [
    "nodes: {}", "destinations: [{name: A, ae_title: B, host: h, port: 1}, {name: A, ae_title: B, host: h, port: 1}]",
    "pipelines: [{destinations: [PACS]}]",
])
def test_no_message_tells_the_database_password(write, text) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(f"database: {{url: 'postgresql://node:s3cr/e@t@db/node'}}\n{text}"))
    assert "e@t" not in str(caught.value)


@pytest.mark.parametrize("text", [
    "database: 'postgresql://node:s3cret@db/node'", "databases: {url: 'postgresql://node:s3cret@db/node'}",
    "database: {url: 'mysql://node:s3cret@db/node'}", "database: {url: [a, 'postgresql://node:s3cret@db/node']}",
    "database: {url: postgresql://node:s3cret@db/node: {}",
])
def test_a_wrong_value_is_shown_without_its_password(write, text) -> None:
    with pytest.raises(ConfigurationError, match=r"://\*\*\*@db/node") as caught:
        load(write(text))
    assert "s3cret" not in str(caught.value)


def test_prompts_told_by_path_are_relative_to_the_file_and_names_stay(write, tmp_path: Path) -> None:
    (section,) = load(write("pipelines: [{prompt_set: own/chest.v2, findings_prompt: chest.yaml}]")).pipelines
    assert section.prompt_set == str(tmp_path / "own/chest.v2")
    assert section.findings_prompt == str(tmp_path / "chest.yaml")
    (section,) = load(write("")).pipelines
    assert (section.prompt_set, section.findings_prompt) == ("demo-chest", "demo-chest-findings")


@pytest.mark.parametrize(("text", "said"), [
    ("pipelines: []", "pipelines = .*at least 1 item"),
    ("pipelines: [{prompt_set: a}, {prompt_set: b}]", "pipelines: two have the same name"),
])
def test_pipelines_are_at_least_one_and_each_has_its_name(write, text, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(write(text))


def test_the_report_profile_follows_the_intended_use(write) -> None:
    clinical = load(write("node: {intended_use: clinical, jurisdiction: KR, authorisation_reference: '1'}"))
    assert clinical.node.intended_use is IntendedUse.CLINICAL
    assert clinical.profile is ReportProfile.TRIAGE_ONLY
    assert Config().profile is ReportProfile.DRAFT_REPORT
    assert load(write("reports: {profile: triage_and_localise}")).profile is ReportProfile.TRIAGE_AND_LOCALISE


def test_two_destinations_of_one_name_are_refused(write) -> None:
    one = "{name: PACS, ae_title: A, host: h, port: 104}"
    with pytest.raises(ConfigurationError, match="same name"):
        load(write(f"destinations: [{one}, {one}]"))


def test_a_pipeline_names_only_destinations_there_are(write) -> None:
    with pytest.raises(ConfigurationError, match=r"PACS.*not in destinations"):
        load(write("pipelines: [{destinations: [PACS]}]"))


SOURCES = "priors: [{name: A, ae_title: B, host: h, port: 1}, {name: C, ae_title: D, host: h, port: 2}]\n"


@pytest.mark.parametrize(("named", "source"), [("", "A"), ("C", "C"), ("none", None)])
def test_a_pipeline_asks_for_priors_where_it_says_else_at_the_first_source(write, named, source) -> None:
    config = load(write(f"{SOURCES}pipelines: [{{priors: '{named}'}}]"))
    found = config.prior_source(config.pipelines[0])
    assert (found.name if found else None) == source


@pytest.mark.parametrize(("text", "said"), [
    (f"{SOURCES}pipelines: [{{priors: E}}]", "'E' not in priors"),
    ("priors: [{name: none, ae_title: B, host: h, port: 1}]", "stands for nobody"),
])
def test_a_source_of_priors_has_a_name_that_pipelines_know(write, text, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(write(text))
