"""What can be set, called, raised or recorded is documented, and what the documents point at exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import node
from handlers.statuses import CAUSES, Status
from node import errors
from node.config import Config
from tests.tools.settings import keys_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ACTION = re.compile(r"(association|instance|study|stage|delivery|commitment|check)\.(?!html$)[a-z_]*$")
"""What an audit action looks like when it is passed on by a function."""

SOURCES = [file for package in ("node", "handlers", "sr_writer") for file in (ROOT / package).rglob("*.py")]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(command: Any, name: str = "ainode") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


def recorded_actions(file: Path) -> Iterator[str]:
    """Audit actions in ``file``: given to an AuditEvent, or to a function that passes them on.

    Of one with variable parts, what stands before them. A settings key looks the same and is none.
    """
    settings = set(keys_of(Config))
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call):
            is_event = ast.unparse(call.func).endswith("AuditEvent")
            given = [*call.args, *(keyword.value for keyword in call.keywords if is_event and keyword.arg == "action")]
            texts = [text for value in given for text in _texts(value)]
            yield from (text for text in texts if is_event or (ACTION.match(text) and text not in settings))


def _texts(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr) and isinstance(value.values[0], ast.Constant):
        yield str(value.values[0].value)
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from subclasses(inner)


def test_every_setting_is_documented() -> None:
    documented = text_of("docs/configuration.md")
    assert [key for key in keys_of(Config) if f"`{key}`" not in documented] == []


def test_every_documented_setting_exists() -> None:
    documented = re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|", text_of("docs/configuration.md"), re.MULTILINE)
    assert set(documented) == set(keys_of(Config))


def test_every_command_and_option_is_documented_and_no_other() -> None:
    from node.__main__ import app

    documented = text_of("docs/cli.md")
    found = dict(commands(typer.main.get_command(app)))
    assert sorted(re.findall(r"^## (ainode .+)$", documented, re.MULTILINE)) == sorted(found)
    for name, command in found.items():
        section = documented.partition(f"## {name}\n")[2].partition("\n## ")[0]
        shown = {parameter.opts[0] for parameter in command.params if not getattr(parameter, "hidden", False)}
        options = {option for option in shown if option.startswith("--")} - {"--help", "--config"}
        assert {option for option in options if option not in section} == set(), name


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_audit_action_is_documented(file: Path) -> None:
    documented = text_of("docs/audit.md")
    assert [action for action in recorded_actions(file) if f"`{action}" not in documented] == []


def test_every_error_is_drawn_in_the_tree() -> None:
    ours = [kind.__name__ for kind in subclasses(errors.NodeError) if kind.__module__.startswith("node")
            and not kind.__name__.startswith("_")]  # a private one never leaves its module
    assert [name for name in ours if name not in (errors.__doc__ or "")] == []


def test_every_error_lives_in_the_tree() -> None:
    own = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert own == {kind.__name__ for kind in subclasses(errors.NodeError) if kind.__module__ == "node.errors"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (document.parent / link).exists()] == []


def test_every_document_can_be_found_from_the_readme() -> None:
    readme = text_of("README.md")
    assert [file.name for file in (ROOT / "docs").glob("*.md") if f"docs/{file.name}" not in readme] == []


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of("README.md"), re.MULTILINE)) <= targets


def test_the_changelog_tells_about_this_version() -> None:
    assert f"## {node.__version__}" in text_of("CHANGELOG.md")


def test_every_status_that_is_answered_has_its_causes() -> None:
    assert set(Status) == {cause.status for cause in CAUSES}
    assert len({(cause.service, cause.status) for cause in CAUSES}) == len(CAUSES)


def test_the_conformance_statement_is_that_of_the_shipped_configuration() -> None:
    from node.config import load
    from node.conformance import statement

    written = statement(load(ROOT / "config.yaml"))
    assert text_of("docs/conformance.md") == f"{written}\n", (
        "run: python -m node conformance --config config.yaml > docs/conformance.md")


def test_whatever_the_node_offers_or_asks_has_its_words_in_the_conformance_statement() -> None:
    """A new service, request or call of the client needs its lines in node/conformance."""
    from node.config import Config
    from node.conformance.acceptance import SERVICES
    from node.conformance.initiation import ACTIVITIES
    from node.dicom_archive import DicomArchive
    from node.dicom_client import DicomClient
    from node.dicom_query import DicomQuery
    from node.server.contexts import offered_contexts, service_of

    offered = {service_of(str(context.abstract_syntax)) for context in offered_contexts(Config())}
    assert offered <= {service.key for service in SERVICES}
    answered = re.findall(r"EVT_([CN])_(\w+),", text_of("node/server/serving.py"))
    assert {f"{kind}-{name.replace('_', '-')}" for kind, name in answered} <= {
        name for service in SERVICES for name in service.dimse}
    clients = (DicomArchive, DicomClient, DicomQuery)
    calls = {name for client in clients for name in vars(client) if not name.startswith("_")}
    assert calls - {"refused_classes", "retrieve"} == {activity.call for activity in ACTIVITIES}
