"""Who may associate, as receiver, fake disk and fake associations see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.association import Admitted, Caller
from handlers.rejections import Reason, Rejection
from node.config import Config, Peer
from node.errors import StorageError
from node.hosts import HostNames
from node.server.admission import Admission
from node.tls import Certificate


def admission(*allowed: Peer, free_mb: int = 1 << 40, **receive: Any) -> Admission:
    config = Config(
        receive={"allowed_peers": allowed, **receive},
        destinations=({"name": "pacs", "ae_title": "PACS", "host": "10.9.0.1", "port": 104},),
        peers=({"ae_title": "VIEWER", "host": "10.9.0.2", "port": 104},),
    )
    return Admission(config, lambda: free_mb, HostNames())


def caller(ae_title: str = "CT1", host: str = "10.0.0.1", *, certificate: str = "", association: str = "a1",
           called: str = "AINODE", storage: bool = True) -> Caller:
    return Caller(
        association=association, calling_ae_title=ae_title, called_ae_title=called, source_host=host,
        certificate=of(certificate) if certificate else None, proposes_storage=storage,
    )


def of(name: str) -> Certificate:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Certificate(names=(name,), addresses=(), sha256="", not_before=moment, not_after=moment)


def alive() -> bool:
    return True


def ask(gate: Admission, who: Caller) -> str:
    """``store``, ``enter``, or the reason of the rejection."""
    answer = gate.enter(who, alive)
    if isinstance(answer, Rejection):
        return answer.reason.name
    return "store" if answer.may_store else "enter"


UNKNOWN = Reason.CALLING_AE_TITLE_NOT_RECOGNISED.name
LIMIT = Reason.LOCAL_LIMIT_EXCEEDED.name
CONGESTION = Reason.TEMPORARY_CONGESTION.name


def test_a_peer_is_its_title_and_its_host() -> None:
    peers = Peer(ae_title="CT1", host="10.0.0.1"), Peer(ae_title="*", host="10.0.8.0/24"), Peer(ae_title="MR1")
    gate = admission(*peers)
    answers = [ask(gate, caller(*who)) for who in (
        ("CT1", "10.0.0.1"), ("CT1", "10.0.0.9"), ("ANY", "10.0.8.77"), ("MR1", "10.9.9.9"), ("ANY", "10.0.0.1"),
    )]
    assert answers == ["store", UNKNOWN, "store", "store", UNKNOWN]


def test_a_destination_or_peer_may_associate_from_its_host_but_not_store() -> None:
    gate = admission()
    answers = [ask(gate, caller(*who)) for who in (
        ("PACS", "10.9.0.1"), ("VIEWER", "10.9.0.2"), ("PACS", "10.0.0.1"), ("CT1", "10.0.0.1"),
    )]
    assert answers == ["enter", "enter", UNKNOWN, UNKNOWN]


def test_a_destination_that_is_also_allowed_may_store() -> None:
    assert ask(admission(Peer()), caller("PACS", "10.9.0.1")) == "store"


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (caller("CT2"), "'CT2' is not in receive.allowed_peers"),
        (caller("ct1"), "differs from 'CT1' by case"),
        (caller("PACS"), "may come from 10.9.0.1, not from 10.0.0.1"),
        (caller(host="10.7.0.1"), "may come from 10.0.0.0/24, not from 10.7.0.1"),
        (caller(), "has to come over TLS with the certificate ct1.example"),
        (caller(certificate="mr1.example"), "needs the certificate ct1.example, its own bears mr1.example"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rejection_says_what_was_missing(who: Caller, words: str) -> None:
    bound = Peer(ae_title="CT1", host="10.0.0.0/24", certificate="ct1.example")
    answer = admission(bound, Peer(ae_title="OTHER")).enter(who, alive)
    assert isinstance(answer, Rejection)
    assert words in answer.text


def test_a_certificate_is_bound_to_its_ae_title_both_ways() -> None:
    gate = admission(
        Peer(ae_title="CT1", certificate="ct1.example"), Peer(ae_title="MR1", certificate="mr1.example"))
    answers = [ask(gate, caller(title, certificate=name)) for title, name in (
        ("CT1", "ct1.example"), ("CT1", "mr1.example"), ("MR1", "ct1.example"), ("MR1", "MR1.example"), ("CT1", ""),
    )]
    assert answers == ["store", UNKNOWN, UNKNOWN, "store", UNKNOWN]


def test_the_first_entry_that_fits_decides_about_the_limit() -> None:
    gate = admission(Peer(ae_title="CT1", max_associations=1), Peer())
    answers = [ask(gate, caller(title, association=name)) for title, name in (
        ("CT1", "a1"), ("CT1", "a2"), ("MR1", "a3"), ("MR1", "a4"))]
    assert answers == ["store", LIMIT, "store", "store"]


def test_a_peer_is_limited_by_title_and_address_and_leaves_room_for_others() -> None:
    gate = admission(Peer(), max_associations=4, max_associations_per_peer=2)
    answers = [ask(gate, caller(*who, association=str(number))) for number, who in enumerate((
        ("CT1", "10.0.0.1"), ("CT1", "10.0.0.1"), ("CT1", "10.0.0.1"), ("CT1", "10.0.0.2"), ("CT2", "10.0.0.1"),
        ("CT3", "10.0.0.3"),
    ))]
    assert answers == ["store", "store", LIMIT, "store", "store", LIMIT]


def test_who_leaves_makes_room() -> None:
    gate = admission(Peer(), max_associations=1)
    assert [ask(gate, caller(association="a1")), ask(gate, caller(association="a2"))] == ["store", LIMIT]
    gate.leave("a2")  # was never in
    assert ask(gate, caller(association="a3")) == LIMIT
    gate.leave("a1")
    assert ask(gate, caller(association="a4")) == "store"


def test_an_association_that_died_without_a_word_makes_room() -> None:
    gate, living = admission(Peer(), max_associations_per_peer=1), [True]
    gate.enter(caller(association="a1"), lambda: living[0])
    assert ask(gate, caller(association="a2")) == LIMIT
    living[0] = False
    assert ask(gate, caller(association="a3")) == "store"


def test_with_low_disk_only_those_who_would_store_are_sent_away() -> None:
    gate = admission(Peer(), free_mb=1999, min_free_disk_mb=1000)
    assert ask(gate, caller()) == CONGESTION
    assert ask(gate, caller(storage=False)) == "store"


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"min_free_disk_mb": 500}, "store"), ({"min_free_disk_mb": 500, "low_disk_mb": 1001}, CONGESTION),
        ({"min_free_disk_mb": 5000, "low_disk_mb": 0}, "store"),
    ],
)
def test_the_watermark_is_a_setting(settings: dict[str, int], answer: str) -> None:
    assert ask(admission(Peer(), free_mb=1000, **settings), caller()) == answer


def test_a_disk_that_cannot_be_asked_is_a_congestion() -> None:
    def broken() -> int:
        raise StorageError("/data: Input/output error")

    answer = Admission(Config(), broken, HostNames()).enter(caller(), alive)
    assert answer == Rejection(reason=Reason.TEMPORARY_CONGESTION, text="/data: Input/output error")


def test_the_called_title_is_asked_for_where_it_is_required() -> None:
    assert isinstance(admission(Peer()).enter(caller(called="OTHER"), alive), Admitted)
    gate = admission(Peer(), require_called_ae_title=True)
    assert ask(gate, caller(called="ainode")) == Reason.CALLED_AE_TITLE_NOT_RECOGNISED.name


@pytest.mark.parametrize("host", ["10.1.0.5/16", "10.1.0.0/33", "ct1/24"])
def test_a_network_that_is_none_is_refused_at_load(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        Peer(host=host)
