"""What the pages say about the models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from node.app import _notices
from node.config import Config
from node.domain import DEMO_NOTICE, RESEARCH_NOTICE
from node.inference.checkpoints import ModelKind, resolve_checkpoint


def real_looking(kind: ModelKind, folder: Path) -> str:
    """The demo checkpoint, but for its own word that it is one."""
    shutil.copytree(resolve_checkpoint("demo", kind), folder)
    manifest = folder / "ainode.json"
    told = json.loads(manifest.read_text(encoding="utf-8")) | {"demo": False}
    manifest.write_text(json.dumps(told), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(("demo", "said"), [
    ((True, True), True), ((True, False), True), ((False, True), True), ((False, False), False),
])
def test_one_demo_model_of_two_makes_the_banner(demo: tuple[bool, bool], said: bool, tmp_path: Path) -> None:
    triage = "demo" if demo[0] else real_looking(ModelKind.TRIAGE, tmp_path / "triage")
    findings = "demo" if demo[1] else real_looking(ModelKind.FINDINGS, tmp_path / "findings")
    models = {"triage": {"checkpoint": triage}, "findings": {"checkpoint": findings}}
    notices = _notices(Config(models=models))  # type: ignore[arg-type]
    assert (DEMO_NOTICE in notices, RESEARCH_NOTICE in notices) == (said, True)
