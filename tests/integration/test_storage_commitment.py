"""Storage commitment for senders: what the archive commits is passed on, nothing else, whoever goes missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.demo.pacs import SmallPacs
from tests.tools.commitment import RelayNode, Sender, Told, pair, relay_node
from tests.tools.receiver import Sent, made, send

TRANSACTION = "1.2.3.99"
ALL_COMMITTED, FAILURES_EXIST = 1, 2
SUCCESS, NOT_AUTHORISED = 0x0000, 0x0124


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender() as sender:
        yield sender


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SmallPacs]:
    with SmallPacs("PACS", tmp_path / "pacs") as pacs:
        yield pacs


@pytest.fixture
def world(engine: sa.Engine, data_dir: Path, archive: SmallPacs, sender: Sender) -> Iterator[RelayNode]:
    with relay_node(engine, data_dir, archive.port, sender) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        yield world


def stored(world: RelayNode, archive: SmallPacs | None, *uids: str) -> list[Sent]:
    """Instances that the node has, and the archive if one is given."""
    instances = [made(uid) for uid in uids]
    for one in instances:
        assert send(world.port, one) == SUCCESS
        if archive is not None:
            assert send(archive.port, one) == SUCCESS
    world.read_all()
    return instances


def test_what_the_archive_committed_is_reported_on_a_new_association(
    world: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(world, archive, "1.2.3.4", "1.2.3.5")
    assert sender.ask(world.port, TRANSACTION, [pair(one) for one in instances]) == SUCCESS
    world.until(lambda: sender.told)
    assert sender.told == [Told(TRANSACTION, ALL_COMMITTED, [pair(one) for one in instances], [], same=False)]
    assert archive.committed == {"1.2.3.4", "1.2.3.5"}
    assert world.state() == "reported"
