"""Who may associate, over real sockets: what the peer is told, and what the audit says."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelGet, Verification

from tests.tools.disks import small_disk
from tests.tools.receiver import (
    CT,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    REAL,
    Receiver,
    association,
    audited,
    made,
    receiver,
    rejection,
    send,
    store,
)
from tests.tools.waiting import wait_until

ECHO = (Verification, IMPLICIT_LITTLE)
STORE = (CT, EXPLICIT_LITTLE)
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
Start = Callable[..., AbstractContextManager[Receiver]]
CALLING, LIMIT, CONGESTION = (1, 1, 3), (2, 3, 2), (2, 3, 1)


@pytest.fixture
def start(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> Start:
    """Starts a receiver, of each engine, with sections of the configuration."""
    def started(folder: Path = data_dir, **sections: Any) -> AbstractContextManager[Receiver]:
        receive = {"engine": engine_name, **sections.pop("receive", {})}
        return receiver(sqlite, folder, receive=receive, **sections)

    return started


@pytest.mark.parametrize("peer", [{"ae_title": "modality"}, {"host": "192.0.2.0/24"}, {"certificate": "ct1"}], ids=str)
def test_an_unknown_peer_is_rejected_and_audited(start: Start, peer: dict[str, str]) -> None:
    with start(receive={"allowed_peers": (peer,)}) as node:
        with association(node.port, ECHO) as made_one:
            assert rejection(made_one) == CALLING
        event, = audited(node, "association.rejected")
        assert (event["calling_ae_title"], event["source_host"]) == ("MODALITY", "127.0.0.1")
        assert event["rejection"] == "CALLING_AE_TITLE_NOT_RECOGNISED"
        assert "'MODALITY'" in event["reason"]


def test_dcmtk_is_told_why(start: Start) -> None:
    with start(receive={"allowed_peers": ({"ae_title": "CT1"},)}) as node:
        command = ["echoscu", "-v", "-aet", "CT2", "-aec", "AINODE", "127.0.0.1", str(node.port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
        command[3] = "CT1"
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_network_and_a_name_let_a_peer_in(start: Start) -> None:
    for host in ("127.0.0.0/8", "localhost"):
        with (
            start(receive={"allowed_peers": ({"host": host},)}) as node,
            association(node.port, ECHO) as made_one,
        ):
            assert made_one.is_established


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize(
    ("listens", "calls", "allowed"),
    [("::1", "::1", "::1"), ("::", "127.0.0.1", "127.0.0.0/8"), ("::", "::1", "::/64")],
)
def test_ipv6_and_ipv4_through_ipv6(
    start: Start, data_dir: Path, listens: str, calls: str, allowed: str
) -> None:
    section = {"port": 0, "data_dir": data_dir, "host": listens}
    with start(node=section, receive={"allowed_peers": ({"host": allowed},)}) as node:
        with association(node.port, ECHO, host=calls) as made_one:
            assert made_one.is_established
        assert audited(node, "association.accepted")[0]["source_host"] == calls


def test_a_peer_of_many_associations_leaves_room_for_others(start: Start) -> None:
    limits = {"max_associations": 4, "max_associations_per_peer": 2}
    with start(receive=limits) as node, ExitStack() as stack:
        def ask(ae_title: str) -> Association:
            return stack.enter_context(association(node.port, ECHO, ae_title=ae_title))

        assert [ask("CT1").is_established for _ in range(2)] == [True, True]
        assert rejection(ask("CT1")) == LIMIT
        assert [ask("MR1").is_established for _ in range(2)] == [True, True]
        assert rejection(ask("US1")) == LIMIT
        one, all_ = audited(node, "association.rejected", 2)
        assert one["reason"] == (
            "2 associations of CT1 at 127.0.0.1 are open, which is receive.max_associations_per_peer")
        assert all_["reason"] == "4 associations are open, which is receive.max_associations"


def test_many_at_once_take_exactly_the_places_there_are(start: Start) -> None:
    with start(receive={"max_associations_per_peer": 3}) as node:
        asked, answered = threading.Barrier(9), threading.Barrier(9)
        entered: list[bool] = []

        def one() -> None:
            asked.wait(60)
            with association(node.port, ECHO) as made_one:
                entered.append(made_one.is_established)
                answered.wait(60)  # nobody leaves before everybody was answered

        threads = [threading.Thread(target=one) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(entered) == [False] * 6 + [True] * 3
        with association(node.port, ECHO) as made_one:
            assert made_one.is_established


def test_one_after_the_other_needs_one_place_only(start: Start) -> None:
    """The place is free before the sender reads that its release was accepted."""
    with start(receive={"max_associations": 1}) as node:
        assert [send(node.port, made(f"1.2.{number}")) for number in range(10)] == [0] * 10


@pytest.mark.parametrize("how", ["abort", "disconnect"])
def test_an_association_that_ends_badly_makes_room(start: Start, how: str) -> None:
    with start(receive={"max_associations": 1}) as node:
        with association(node.port, ECHO) as made_one:
            if how == "abort":
                made_one.abort()
            else:
                made_one.dul.socket.socket.shutdown(socket.SHUT_RDWR)

        def established() -> bool:
            with association(node.port, ECHO) as made_one:
                return bool(made_one.is_established)

        assert wait_until(established, timeout=10)


def test_a_connection_without_a_request_takes_no_place(start: Start) -> None:
    with start(receive={"max_associations": 1}) as node:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(3)]
        silent[0].sendall(b"\x01\x00\x00\x00")  # and one that stops in the middle of its request
        with association(node.port, ECHO) as made_one:
            assert made_one.is_established
        for connection in silent:
            connection.close()


def test_a_connection_that_never_asks_is_closed(start: Start) -> None:
    with (
        start(receive={"network_timeout_seconds": 0.2}) as node,
        socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection,
    ):
        assert connection.recv(100) == b""


def test_a_peer_that_falls_silent_is_aborted_after_the_time_out(start: Start) -> None:
    with (
        start(receive={"network_timeout_seconds": 0.3}) as node,
        association(node.port, ECHO) as made_one,
    ):
        wait_until(lambda: made_one.is_aborted)
        audited(node, "association.aborted")


def test_a_destination_may_report_but_not_store(start: Start) -> None:
    settings: dict[str, Any] = {"receive": {"allowed_peers": ()}, "destinations": (PACS,)}
    with start(**settings) as node:
        with association(node.port, ECHO, STORE, ae_title="PACS") as made_one:
            assert store(made_one, made()) == 0x0124
            assert made_one.send_c_echo().Status == 0
        assert "but not store" in audited(node, "instance.refused")[0]["reason"]
        assert (node.rows(), node.files(".")) == ([], [])


def test_low_disk_sends_away_who_would_store_and_nobody_else(start: Start) -> None:
    with start(receive={"low_disk_mb": 1 << 40}) as node:
        with association(node.port, STORE) as made_one:
            assert rejection(made_one) == CONGESTION
        with association(node.port, ECHO) as made_one:
            assert made_one.send_c_echo().Status == 0
        get = (PatientRootQueryRetrieveInformationModelGet, IMPLICIT_LITTLE)
        with association(node.port, ECHO, get, STORE, ext_neg=[build_role(CT, scp_role=True)]) as made_one:
            assert made_one.is_established
        assert "receive.low_disk_mb is 1099511627776" in audited(node, "association.rejected")[0]["reason"]


def test_the_watermark_is_passed_while_associations_are_open(start: Start, tmp_path: Path) -> None:
    settings = {"min_free_disk_mb": 3, "low_disk_mb": None}
    with small_disk(tmp_path / "disk", 8) as disk, start(disk / "data", receive=settings) as node:
        with association(node.port, STORE) as made_one:
            assert [store(made_one, made(f"1.2.1.{number}", filling=1_000_000)) for number in range(3)] == [0] * 3
            storescu = ["storescu", "-aec", "AINODE", "127.0.0.1", str(node.port), REAL / "chrKoreanMulti.dcm"]
            done = subprocess.run(storescu, capture_output=True, text=True, check=False)
            assert "Temporary Congestion" in done.stdout + done.stderr
            assert store(made_one, made("1.2.2")) == 0  # who is in goes on until the reserve
        for path in node.files("instances"):
            path.unlink()
        assert send(node.port, made("1.2.3")) == 0


def test_nobody_comes_in_when_nobody_can_decide(start: Start) -> None:
    def broken() -> int:
        raise RuntimeError("not one of the node's errors")

    with start(receive={"low_disk_mb": 1}) as node:
        node.server._gate._free_mb = broken
        with association(node.port, STORE) as made_one:
            assert rejection(made_one) == (2, 1, 1)


def test_accepted_connections_are_kept_alive(start: Start) -> None:
    with start() as node, association(node.port, ECHO):
        accepted, = node.server._entity.active_associations
        connection = accepted.dul.socket.socket
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
