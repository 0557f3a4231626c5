"""``ainode demo``: the whole way on one machine, alone and with an archive that misbehaves in every way it can."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from tests.tools.running_node import RunningNode
from tests.tools.waiting import wait_until

FINDINGS = {"effusion", "pneumothorax", "cardiomegaly", "consolidation", "nodule", "edema"}
HOSTILE = ("route_back", "coerce_ids", "resend_all", "add_late_image", "refuse_first", "hang")


@pytest.mark.parametrize("switches", [(), HOSTILE], ids=["friendly", "hostile"])
def test_it_ends_well(tmp_path: Path, switches: tuple[str, ...]) -> None:
    chosen = [argument for switch in switches for argument in ("--pacs", switch)]
    done = RunningNode(tmp_path).ainode("demo", "--exit", "--count", "3" if switches else "12", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every report is stored and committed" in done.stdout
    assert "SYNTHETIC DEMO MODEL, NOT FOR CLINICAL USE" in done.stdout


def test_nothing_of_it_is_left_when_it_is_killed() -> None:
    demo = subprocess.Popen([sys.executable, "-m", "node", "demo"], stdout=subprocess.DEVNULL)
    node, = wait_until(lambda: children(demo.pid), 60, "the demo's node")
    roles = wait_until(lambda: children(node), 60, "the node's roles")
    demo.kill()
    demo.wait(30)
    wait_until(lambda: not any(runs(process) for process in (node, *roles)), 60, "the node to end")


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def runs(process: int) -> bool:
    """False too for one that ended and was not collected by its new parent."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_writes_studies_and_what_was_drawn(tmp_path: Path) -> None:
    done = RunningNode(tmp_path).ainode("demo", "--write", tmp_path / "drawn", "--count", "3", "--seed", "7")
    assert done.returncode == 0, done.stderr
    truth = json.loads((tmp_path / "drawn" / "truth.json").read_text())
    assert sorted(one["file"] for one in truth) == sorted(path.name for path in (tmp_path / "drawn").glob("*.dcm"))
    assert len(truth) == 3
    for one in truth:
        image = pydicom.dcmread(tmp_path / "drawn" / one["file"], stop_before_pixels=True)
        assert one.keys() == {"file", "study_instance_uid", "findings"}
        assert image.StudyInstanceUID == one["study_instance_uid"]
        for finding in one["findings"]:
            assert finding.keys() == {"finding", "side", "box"}
            assert finding["finding"] in FINDINGS
            assert finding["side"] in {"left", "right", "both", ""}
            left, top, right, bottom = finding["box"]
            assert 0 <= left < right <= image.Columns
            assert 0 <= top < bottom <= image.Rows


def test_an_unknown_switch_is_named(tmp_path: Path) -> None:
    done = RunningNode(tmp_path).ainode("demo", "--exit", "--pacs", "explode")
    assert done.returncode != 0
    assert "explode" in done.stderr
    assert "route_back" in done.stderr
