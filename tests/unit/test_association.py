"""A caller that is turned away, whatever fails on the way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handlers.association import handle_requested
from node.domain import AuditEvent


class Refusing:
    """Stands where pynetdicom has an association, and writes down what is done to it."""

    name = "AcceptorThread@1"
    requestor = SimpleNamespace(primitive=None, address_info=SimpleNamespace(as_tuple=("127.0.0.1", 104)))

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.acse = SimpleNamespace(send_reject=lambda *reason: self.done.append(reason))

    def kill(self) -> None:
        self.done.append("killed")


def test_a_rejection_stands_where_nobody_can_write_it_down() -> None:
    def record(_: AuditEvent) -> None:
        raise RuntimeError("not one of the node's errors")

    association = Refusing()
    with pytest.raises(RuntimeError):
        handle_requested(SimpleNamespace(assoc=association), SimpleNamespace(), record)
    assert association.done == [(2, 1, 1), "killed"]
