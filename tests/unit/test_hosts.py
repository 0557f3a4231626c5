"""Host names, addresses and networks against the address of a connection."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from node.hosts import FRESH_SECONDS, KEPT_SECONDS, Address, HostNames, address_of
from tests.tools.waiting import wait_until


@dataclass
class Resolver:
    """Answers from a table, and counts how often it was asked."""

    table: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    #: Cleared, it hangs.
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    def __call__(self, name: str) -> frozenset[Address]:
        self.asked.append(name)
        assert self.answers.wait(30)
        if name not in self.table:
            raise OSError("Name or service not known")
        return frozenset({ip_address(self.table[name])})


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("host", "address", "matches"),
    [
        ("", "10.0.0.1", True), ("*", "2001:db8::1", True), ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.10", False), ("10.1.0.0/16", "10.1.255.3", True), ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.0.0/16", "::ffff:10.1.0.9", True), ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "2001:db8:7::1", True), ("2001:db8::/32", "10.1.0.1", False), ("::1", "::1", True),
        ("2001:DB8:0::1", "2001:db8::1", True), ("fe80::/10", "fe80::1%eth0", True), ("10.0.0.0/8", "", False),
    ],
)
def test_a_host_is_any_an_address_or_a_network(host: str, address: str, matches: bool) -> None:
    assert HostNames().matches(host, address_of(address)) is matches


def test_a_name_is_any_of_its_addresses() -> None:
    names = HostNames(Resolver({"ct1": "10.0.0.1"}))
    assert names.matches("ct1", address_of("10.0.0.1"))
    assert not names.matches("ct1", address_of("10.0.0.2"))


def test_the_systems_resolver_is_asked() -> None:
    assert HostNames().matches("localhost", address_of("127.0.0.1"))


def test_a_name_is_not_looked_up_for_every_association() -> None:
    resolver, clock = Resolver({"ct1": "10.0.0.1"}), Clock()
    names = HostNames(resolver, clock)
    for _ in range(5):
        names.addresses("ct1")
        names.addresses("nobody")
    assert sorted(resolver.asked) == ["ct1", "nobody"]
    clock.now += FRESH_SECONDS
    names.addresses("ct1")
    wait_until(lambda: resolver.asked.count("ct1") == 2)


def test_a_resolver_that_hangs_holds_nobody_up_while_an_answer_is_kept() -> None:
    resolver, clock = Resolver({"ct1": "10.0.0.1"}), Clock()
    names = HostNames(resolver, clock, patience=30)
    assert names.addresses("ct1") == {ip_address("10.0.0.1")}
    resolver.answers.clear()
    clock.now += FRESH_SECONDS
    assert names.addresses("ct1") == {ip_address("10.0.0.1")}  # would take its patience otherwise
    resolver.table["ct1"] = "10.0.0.2"
    resolver.answers.set()
    wait_until(lambda: names.addresses("ct1") == {ip_address("10.0.0.2")})


def test_a_resolver_that_hangs_from_the_start_is_waited_for_with_patience() -> None:
    resolver = Resolver()
    resolver.answers.clear()
    names = HostNames(resolver, patience=0.01)
    assert [names.addresses("ct1"), names.addresses("ct1")] == [frozenset(), frozenset()]
    assert resolver.asked == ["ct1"]
    resolver.answers.set()


def test_an_answer_is_not_kept_for_ever() -> None:
    resolver, clock = Resolver({"ct1": "10.0.0.1"}), Clock()
    names = HostNames(resolver, clock)
    names.addresses("ct1")
    resolver.table.clear()
    clock.now += FRESH_SECONDS
    names.addresses("ct1")
    wait_until(lambda: len(resolver.asked) == 2)
    assert names.addresses("ct1") == {ip_address("10.0.0.1")}
    clock.now += KEPT_SECONDS
    assert names.addresses("ct1") == frozenset()


def test_a_name_that_cannot_be_resolved_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    names = HostNames(Resolver(), clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert names.addresses("x" * 300) == frozenset()
            clock.now += FRESH_SECONDS
    assert [getattr(record, "action", "") for record in caplog.records] == ["host.unresolved"]
