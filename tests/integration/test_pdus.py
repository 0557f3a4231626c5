"""How a sender may cut what it sends: PDUs and PDVs of any size, and commands with what else they may carry."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.tools.raw_sender import (
    CT_CONTEXT,
    DATA,
    RawSender,
    command_set,
    pdv,
    pdvs,
    store_command,
)
from tests.tools.receiver import Receiver, association, made, store

SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000
LAST = 2


CUTS: dict[str, tuple[Sequence[int], int]] = {
    "one byte in a PDU": ((1,), 1),
    "one byte, many in a PDU": ((1,), 500),
    "odd lengths": ((7, 1, 333, 13), 1),
    "odd lengths, many in a PDU": ((7, 1, 333, 13), 40),
    "empty ones between": ((0, 50, 0, 0, 3), 3),
    "an element's header cut in two": ((10, 3, 5), 2),
    "everything in one PDU": ((200,), 1000),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_data_set_may_be_cut_anywhere(shared_node: Receiver, name: str) -> None:
    sizes, per_pdu = CUTS[name]
    sent = made(filling=500)
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(sent, sizes=sizes, per_pdu=per_pdu).status == SUCCESS
    assert shared_node.received() == [sent.data]


@pytest.mark.parametrize("sizes", [(1,), (5, 0, 3), (9,)], ids=str)
def test_a_command_may_be_cut_anywhere(shared_node: Receiver, sizes: Sequence[int]) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made(), command_sizes=sizes).status == SUCCESS
    assert shared_node.received() == [made().data]


def test_command_and_data_set_may_share_a_pdu(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made(), sizes=(50,), command_sizes=(20,), per_pdu=1000).status == SUCCESS
    assert shared_node.received() == [made().data]


def test_the_last_piece_may_be_empty(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        command = pdvs(1, True, command_set(store_command(made())), (500,))
        sender.send_pdvs([*command, pdv(1, DATA, made().data), pdv(1, DATA, b""), pdv(1, LAST, b"")])
        answer = sender.answer()
        assert answer is not None
        assert answer.status == SUCCESS
    assert shared_node.received() == [made().data]


@pytest.mark.parametrize("max_pdu", [0, 4096, 16382, 131072, 1 << 20])
def test_a_sender_may_announce_any_pdu_size(shared_node: Receiver, max_pdu: int) -> None:
    sent = made(filling=300_000)
    with association(shared_node.port, (sent.sop_class_uid, sent.transfer_syntax_uid), max_pdu=max_pdu) as made_one:
        assert store(made_one, sent) == SUCCESS
    assert shared_node.received() == [sent.data]


@pytest.mark.parametrize("max_pdu", [7, 8, 20])
def test_the_answer_fits_into_the_smallest_pdu_of_a_sender(shared_node: Receiver, max_pdu: int) -> None:
    with RawSender(shared_node.port, CT_CONTEXT, max_length=max_pdu) as sender:
        assert sender.store(made()).status == SUCCESS
