"""``kill -9`` while a sender waits for its storage commitment: it is told all the same, and never what is not true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.demo.pacs import PacsSwitches, SmallPacs
from tests.tools.commitment import Sender, pair
from tests.tools.receiver import made, send
from tests.tools.running_node import AE_TITLE, RunningNode
from tests.tools.waiting import wait_until

SUCCESS = 0x0000
ALL_COMMITTED = 1


@dataclass(frozen=True)
class Site:
    """A node of receiver and clerk between a sender and an archive."""

    node: RunningNode
    archive: SmallPacs
    sender: Sender

    def ask(self, number: int) -> str:
        """Store an instance everywhere and ask for its commitment; the Transaction UID."""
        one, transaction_uid = made(f"1.2.3.{number}"), f"1.2.9.{number}"
        assert [send(port, one) for port in (self.node.port, self.archive.port)] == [SUCCESS] * 2
        assert self.sender.ask(self.node.port, transaction_uid, [pair(one)]) == SUCCESS
        return transaction_uid

    def state(self, transaction_uid: str) -> str:
        row, = self.node.rows("SELECT state FROM commitment_request WHERE transaction_uid = :uid", uid=transaction_uid)
        return str(row.state)

    def kill(self, role: str) -> None:
        self.node.kill_role(role)
        self.node.start_role(role)

    def until_told(self, transaction_uid: str) -> list[int]:
        """Event types the sender heard."""
        wait_until(lambda: self.state(transaction_uid) == "reported", 120, f"the report, see {self.node.log}")
        return [told.event_type for told in self.sender.told if told.transaction_uid == transaction_uid]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        archive = stack.enter_context(SmallPacs("PACS", tmp_path / "pacs"))
        sender = stack.enter_context(Sender())
        node = stack.enter_context(RunningNode(
            tmp_path / "node",
            destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}],
            peers=[{"ae_title": sender.ae_title, "host": "127.0.0.1", "port": sender.port}],
            receive={"storage_commitment": {"archive": "pacs"}}, delivery={"commitment_timeout_seconds": 1}))
        archive.meet(AE_TITLE, "127.0.0.1", node.port)
        for role in ("receiver", "clerk"):
            node.start_role(role)
            node.wait_for_role(role)
        yield Site(node, archive, sender)


def test_a_sender_is_told_whoever_is_killed(site: Site) -> None:
    told_twice(site)
    asked_again(site)
    heard_again(site)
    assert site.node.ainode("audit", "verify").returncode == 0
    assert site.node.ainode("commitment", "list").stdout.count("reported") == 3


def told_twice(site: Site) -> None:
    """The clerk dies after the archive's answer, while the sender has the report and has not answered it."""
    site.sender.hesitates.set()
    transaction_uid = site.ask(1)
    wait_until(lambda: site.sender.told, 60, f"the first report, see {site.node.log}")
    site.kill("clerk")
    site.sender.hesitates.clear()
    assert site.until_told(transaction_uid) == [ALL_COMMITTED] * 2


def asked_again(site: Site) -> None:
    """The clerk dies while the archive has the request and says nothing."""
    site.archive.switches = PacsSwitches(never_report=True)
    transaction_uid = site.ask(2)
    wait_until(lambda: site.state(transaction_uid) in ("asking", "asked"), 60)
    site.kill("clerk")
    site.archive.switches = PacsSwitches()
    assert site.until_told(transaction_uid) == [ALL_COMMITTED]


def heard_again(site: Site) -> None:
    """The receiver is away when the archive reports."""
    site.archive.switches = PacsSwitches(never_report=True)
    transaction_uid = site.ask(3)
    wait_until(lambda: site.state(transaction_uid) in ("asking", "asked"), 60)
    site.node.kill_role("receiver")
    site.archive.switches = PacsSwitches()
    wait_until(lambda: site.archive.problems, 60, f"a report that found nobody, see {site.node.log}")
    site.node.start_role("receiver")
    assert site.until_told(transaction_uid) == [ALL_COMMITTED]
