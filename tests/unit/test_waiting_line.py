"""The order in which images are scored, for any mix of priorities, senders and acquisition times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from node.inference.waiting_line import OLDEST_EVERY, WaitingLine


@dataclass(frozen=True)
class Waiting:
    number: int
    priority: int
    sender: str
    acquired_at: float


arrivals = st.lists(
    st.tuples(st.sampled_from([10, 20, 50, 90]), st.sampled_from("ABC"), st.integers(0, 5)), max_size=40
).map(lambda told: [Waiting(number, *each) for number, each in enumerate(told)])


def line_of(waiting: list[Waiting]) -> WaitingLine[Waiting]:
    line: WaitingLine[Waiting] = WaitingLine()
    for each in waiting:
        line.add(each, each.priority, acquired_at=each.acquired_at, sender=each.sender)
    return line


@given(arrivals, st.integers(1, 8))
def test_everybody_is_served_once_and_the_urgent_before_the_others(waiting: list[Waiting], batch: int) -> None:
    line, served = line_of(waiting), []
    while len(line):
        served += line.take(batch)
    assert sorted(each.number for each in served) == list(range(len(waiting)))
    assert [each.priority for each in served] == sorted(each.priority for each in waiting)
    assert line.take(1) == []


@given(arrivals)
def test_no_sender_takes_more_than_its_share_while_others_wait(waiting: list[Waiting]) -> None:
    waiting = [Waiting(each.number, 50, each.sender, each.acquired_at) for each in waiting]
    left = Counter(each.sender for each in waiting)
    line, served = line_of(waiting), Counter[str]()
    while len(line):
        (each,) = line.take(1)
        served[each.sender] += 1
        left[each.sender] -= 1
        assert all(served[each.sender] <= served[other] + 1 for other in left if left[other])


@given(arrivals)
def test_of_one_sender_the_newest_goes_first_except_every_fourth_place(waiting: list[Waiting]) -> None:
    waiting = [Waiting(each.number, 50, "A", each.acquired_at) for each in waiting]
    served, left = line_of(waiting).take(len(waiting)), list(waiting)
    for place, each in enumerate(served):
        if place % OLDEST_EVERY == OLDEST_EVERY - 1:
            assert each == min(left, key=lambda other: other.number)
        else:
            assert each == min(left, key=lambda other: (-other.acquired_at, other.number))
        left.remove(each)


@given(st.lists(st.lists(st.sampled_from("ABC"), max_size=2), min_size=40, max_size=40))
def test_no_image_starves_however_many_newer_ones_come(coming: list[list[str]]) -> None:
    line: WaitingLine[Waiting] = WaitingLine()
    line.add(Waiting(-1, 50, "A", 0.0), 50, acquired_at=0.0, sender="A")
    served: list[Waiting] = []
    for second, senders in enumerate([["A", "B", "C"]] * 20 + coming):  # more comes than is served
        for sender in senders:
            line.add(Waiting(second, 50, sender, second), 50, acquired_at=second + 1.0, sender=sender)
        served += line.take(1)
    assert -1 in [each.number for each in served[: 3 * OLDEST_EVERY]]


def test_a_volume_delays_another_senders_radiograph_by_one_image() -> None:
    volume = [Waiting(number, 50, "CT", 9.0) for number in range(1000)]
    line = line_of(volume)
    line.take(100)
    line.add(radiograph := Waiting(1000, 50, "DX", 1.0), 50, acquired_at=1.0, sender="DX")
    assert radiograph in line.take(2)


def test_between_senders_served_alike_the_newest_acquisition_goes_first() -> None:
    old, new = Waiting(0, 50, "A", 1.0), Waiting(1, 50, "B", 2.0)
    assert line_of([old, new]).take(2) == [new, old]
