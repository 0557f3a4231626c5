"""Decoding in threads: in order, within the budget, no further ahead than needed."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Lock

import numpy as np
import pytest

from node.errors import Undecodable
from node.images.decoding import Limits, OpenFiles, in_order
from node.images.pixels import frame
from tests.tools.radiographs import radiograph, write


def test_outcomes_come_in_the_order_of_the_items_though_threads_work_at_once() -> None:
    meeting = Barrier(2, timeout=30)

    def work(item: int) -> int:
        meeting.wait()
        return item * item

    found = [done.result for done in in_order(range(20), work, lambda item: 1, Limits(threads=2))]
    assert found == [item * item for item in range(20)]


class Weighing:
    """Counts the bytes that were begun and not yet taken."""

    def __init__(self) -> None:
        self.held, self.most, self.lock = 0, 0, Lock()

    def work(self, item: int) -> int:
        with self.lock:
            self.held += item
            self.most = max(self.most, self.held)
        return item

    def take(self, item: int) -> None:
        with self.lock:
            self.held -= item


def test_work_and_results_not_yet_taken_stay_within_the_budget() -> None:
    scales = Weighing()
    for done in in_order([30, 40, 20, 90, 10, 60] * 5, scales.work, lambda item: item, Limits(threads=4, memory=100)):
        scales.take(done.item)
    assert scales.held == 0 and 90 <= scales.most <= 100


def test_an_item_over_the_budget_is_worked_on_alone() -> None:
    scales = Weighing()
    for done in in_order([5, 500, 5], scales.work, lambda item: item, Limits(threads=4, memory=100)):
        scales.take(done.item)
    assert scales.most == 500


def test_bad_input_is_an_outcome_and_the_rest_goes_on() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise Undecodable("torn")
        return item

    found = list(in_order(range(3), work, lambda item: 1, Limits()))
    assert [done.result for done in found] == [0, None, 2]
    assert str(found[1].error) == "torn"


def test_anything_else_ends_the_iteration() -> None:
    def work(item: int) -> int:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        list(in_order(range(3), work, lambda item: 1, Limits()))


def test_whoever_stops_early_has_only_a_few_items_decoded() -> None:
    begun: list[int] = []
    outcomes = in_order(range(1000), lambda item: begun.append(item), lambda item: 1, Limits(threads=2))
    next(outcomes)
    outcomes.close()
    assert len(begun) <= 6


def test_a_file_is_opened_once_for_all_its_frames_and_few_stay_open(tmp_path: Path) -> None:
    grey = np.zeros((4, 4), dtype=np.uint16)
    paths = [write(radiograph(grey), tmp_path / f"{number}.dcm") for number in range(5)]
    files = OpenFiles(2)
    with files.use(paths[0]) as first, files.use(paths[0]) as again:
        assert first is again
        for path in paths[1:]:
            with files.use(path):
                pass
        assert frame(first).shape == (4, 4)
    files.close()
    assert first.file.closed
