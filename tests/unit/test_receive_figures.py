"""What the receive benchmark makes of its runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.receiving.comparing import require_same
from benchmarks.receiving.figures import Cell, Run, Runs, Setting, target
from benchmarks.receiving.receivers import ORTHANC, PYNETDICOM, STORESCP, NotReceived, Receiver, Running
from benchmarks.receiving.workloads import Kind, Workload, draw, template

CELL = Cell(setting=Setting.NODELAY, kind=Kind.SMALL, associations=4)


def run(receiver: str, number: int, seconds: float, failure: str = "") -> Run:
    return Run(cell=CELL, round=number, receiver=receiver, instances=100, seconds=seconds, failure=failure)


def test_a_ratio_is_the_median_of_those_within_the_rounds() -> None:
    runs = Runs([run("a", 0, 1), run("b", 0, 2), run("a", 1, 30), run("b", 1, 90), run("a", 2, 5), run("b", 2, 5)])
    assert runs.ratio(CELL, "a", "b") == pytest.approx(2.0)
    assert runs.rate(CELL, "a") == pytest.approx(20.0)


def test_a_failed_run_is_named_and_not_used() -> None:
    runs = Runs([run("a", 0, 1), run("b", 0, 2), run("a", 1, 1), run("b", 1, 900, failure="one was lost")])
    assert runs.ratio(CELL, "a", "b") == pytest.approx(2.0)
    assert [failed.failure for failed in runs.failed()] == ["one was lost"]
    assert runs.ratio(CELL, "a", "nobody") is None


@pytest.mark.parametrize(("setting", "kind", "associations", "reference", "wanted"), [
    (Setting.AS_SHIPPED, Kind.SMALL, 4, STORESCP, 20), (Setting.AS_SHIPPED, Kind.CT, 4, ORTHANC, 4),
    (Setting.NODELAY, Kind.SMALL, 8, STORESCP, 1.0), (Setting.NODELAY, Kind.CT, 8, STORESCP, None),
    (Setting.NODELAY, Kind.DX, 1, ORTHANC, 2), (Setting.NODELAY, Kind.SMALL, 1, PYNETDICOM, 2),
])
def test_a_target_is_known_by_its_place(
    setting: Setting, kind: Kind, associations: int, reference: str, wanted: float | None
) -> None:
    assert target(Cell(setting=setting, kind=kind, associations=associations), reference) == wanted


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return draw(Kind.SMALL, 3, tmp_path / "sent")


@pytest.fixture
def kept(tmp_path: Path, workload: Workload) -> Running:
    """A receiver that stored all three as they were sent."""
    shutil.copytree(workload.files[0].parent, tmp_path / "stored")
    receiver = Receiver(name="r", version="1", prepare=lambda folder, port: [], stored="stored")
    return Running(receiver=receiver, folder=tmp_path, port=0, pid=0)


def test_what_was_stored_as_sent_is_the_same(kept: Running, workload: Workload) -> None:
    require_same(kept, workload.files)


def test_a_byte_that_differs_is_seen(kept: Running, workload: Workload) -> None:
    path = kept.stored / workload.files[1].name
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(NotReceived, match="1 of 3 instances differ"):
        require_same(kept, workload.files)


def test_a_missing_instance_is_seen(kept: Running, workload: Workload) -> None:
    (kept.stored / workload.files[1].name).unlink()
    with pytest.raises(NotReceived, match="2 instances are stored, 3 were sent"):
        require_same(kept, workload.files)


def test_a_template_changes_nothing_but_the_uid() -> None:
    drawn = template(Kind.SMALL)
    first, second = drawn.data_set(0), drawn.data_set(7)
    assert len(first) == len(second)
    assert first.replace(drawn.sop_instance_uid(0).encode(), drawn.sop_instance_uid(7).encode()) == second != first
