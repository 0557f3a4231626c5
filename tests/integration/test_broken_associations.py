"""Associations that end in the middle of something: the sender died, fell silent, or gave up."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.tools.raw_sender import ABORT, CT_CONTEXT, P_DATA_TF, RawSender, command_set, pdu, pdv, pdvs, store_command
from tests.tools.receiver import ENGINES, Receiver, made, receiver_in
from tests.tools.waiting import wait_until

SUCCESS = 0x0000
DAY = 86400.0
SENT = made(filling=40_000)


@pytest.fixture(scope="module", params=ENGINES)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that waits half a second for whoever is silent."""
    settings = {"engine": request.param, "network_timeout_seconds": 0.5}
    with receiver_in(tmp_path_factory.mktemp("impatient"), receive=settings) as node:
        yield node


@pytest.fixture
def impatient(started: Receiver) -> Receiver:
    started.clear()
    return started


def half(sender: RawSender) -> None:
    """A C-STORE as far as the middle of its data set."""
    command = pdvs(1, True, command_set(store_command(SENT)), (500,))
    sender.send_pdvs([*command, pdv(1, 0, SENT.data[:20_000])])


def in_the_middle_of_a_pdu(sender: RawSender) -> None:
    half(sender)
    sender.send(pdu(P_DATA_TF, pdv(1, 0, SENT.data[20_000:]))[:5_000])


def in_the_head_of_a_pdu(sender: RawSender) -> None:
    half(sender)
    sender.send(struct.pack(">BB", P_DATA_TF, 0))


def in_the_middle_of_a_command(sender: RawSender) -> None:
    sender.send_pdvs(pdvs(1, True, command_set(store_command(SENT)), (20,))[:2])


def after_the_data_set(sender: RawSender) -> None:
    sender.begin(SENT)


@contextmanager
def broken(node: Receiver) -> Iterator[RawSender]:
    """An association that is over, and audited as aborted, at the end."""
    before = node.actions().count("association.aborted")
    with RawSender(node.port, CT_CONTEXT) as sender:
        yield sender
        wait_until(lambda: not node.associations(), timeout=10, what="the end of the association")
        assert node.actions().count("association.aborted") == before + 1


@pytest.mark.parametrize("leave", [RawSender.abort, RawSender.close, RawSender.reset], ids=lambda how: how.__name__)
@pytest.mark.parametrize("when", [half, in_the_middle_of_a_pdu, in_the_head_of_a_pdu, in_the_middle_of_a_command],
                         ids=lambda when: when.__name__)
def test_what_was_not_answered_leaves_nothing(
    shared_node: Receiver, when: Callable[[RawSender], None], leave: Callable[[RawSender], None]
) -> None:
    with broken(shared_node) as sender:
        assert sender.store(made()).status == SUCCESS
        when(sender)
        leave(sender)
        if leave is RawSender.abort and when is not half and when is not in_the_middle_of_a_command:
            sender.close()  # the abort was read as the rest of the PDU
    assert shared_node.received() == [made().data]
    assert shared_node.files("incoming") == []


@pytest.mark.parametrize("leave", [RawSender.abort, RawSender.close, RawSender.reset], ids=lambda how: how.__name__)
def test_a_sender_that_does_not_wait_for_its_answer_leaves_a_whole_instance_or_none(
    shared_node: Receiver, leave: Callable[[RawSender], None]
) -> None:
    with broken(shared_node) as sender:
        sender.begin(SENT)
        leave(sender)
    assert shared_node.received() in ([], [SENT.data])
    assert len(shared_node.files("instances")) == len(shared_node.rows())
    assert shared_node.files("incoming") == []


@pytest.mark.parametrize("when", [half, in_the_middle_of_a_pdu, in_the_head_of_a_pdu, in_the_middle_of_a_command],
                         ids=lambda when: when.__name__)
def test_a_sender_that_falls_silent_is_given_up(impatient: Receiver, when: Callable[[RawSender], None]) -> None:
    with broken(impatient) as sender:
        when(sender)
        found = sender.read_pdu()  # waits
        assert found is None or found[0] == ABORT
    assert (impatient.rows(), impatient.files(".")) == ([], [])


def test_a_sender_that_says_nothing_is_given_up(impatient: Receiver) -> None:
    with broken(impatient) as sender:
        assert sender.store(SENT).status == SUCCESS
        found = sender.read_pdu()  # waits
        assert found is None or found[0] == ABORT
    assert impatient.received() == [SENT.data]


def test_a_slow_sender_is_not_silent(impatient: Receiver) -> None:
    """Pieces that come in time, together longer than a silence may last."""
    with RawSender(impatient.port, CT_CONTEXT) as sender:
        sender.send_pdvs(pdvs(1, True, command_set(store_command(SENT)), (500,)))
        for piece in pdvs(1, False, SENT.data, (4_000,)):
            threading.Event().wait(0.07)
            sender.send_pdvs([piece])
        answer = sender.answer()
        assert answer is not None
        assert answer.status == SUCCESS


def test_a_sender_that_waits_for_us_is_not_silent(impatient: Receiver) -> None:
    with RawSender(impatient.port, CT_CONTEXT) as sender, impatient.engine.connect() as other:
        locked = other.execute(sa.text("BEGIN IMMEDIATE"))
        sender.begin(SENT)
        threading.Event().wait(1.0)
        assert impatient.rows() == []
        locked.close()
        other.rollback()
        answer = sender.answer()
        assert answer is not None
        assert answer.status == SUCCESS
        assert sender.store(made()).status == SUCCESS


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_clock_that_jumps_ends_no_association(
    shared_node: Receiver, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    wall = time.time
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made()).status == SUCCESS
        monkeypatch.setattr(time, "time", lambda: wall() + jump)
        assert [sender.store(SENT).status for _ in range(20)] == [SUCCESS] * 20
    assert shared_node.received() == [made().data] + [SENT.data] * 20


def test_a_clock_that_was_set_back_keeps_no_silent_sender(impatient: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = time.time
    with broken(impatient) as sender:
        half(sender)
        monkeypatch.setattr(time, "time", lambda: wall() - DAY)
