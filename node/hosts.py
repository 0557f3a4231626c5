"""Hosts as the configuration names them, compared with the address of a connection."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

log = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Lookup = Callable[[str], frozenset[Address]]
"""Addresses of a host name. Raises OSError."""

FRESH_SECONDS = 60.0
"""How long the answer of a lookup, also that there is none, is taken without asking again."""
KEPT_SECONDS = 900.0
"""How long an answer is used at the most while asking again fails or takes long."""
PATIENCE_SECONDS = 1.0
"""How long one association waits for a name whose addresses are not known yet."""

ANY = ("", "*")


def address_of(text: str) -> Address | None:
    """The address ``text`` is, None when it is none. An IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def is_name(host: str) -> bool:
    """Whether ``host`` has to be looked up: neither any host, nor an address, nor a network."""
    return host not in ANY and "/" not in host and address_of(host) is None


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine reaches, or is, ``host``."""
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def lookup(name: str) -> frozenset[Address]:
    """Addresses of a host by the system's resolver, which may take many seconds. Raises OSError."""
    found = (address_of(str(info[4][0])) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    return frozenset(address for address in found if address is not None)


@dataclass
class _Known:
    """What is known of one name."""

    addresses: frozenset[Address] = frozenset()
    #: Of the addresses; the beginning of time when there are none.
    found_at: float = -KEPT_SECONDS
    asked_at: float = -FRESH_SECONDS
    failed: bool = False
    under_way: threading.Event | None = None


@dataclass
class HostNames:
    """Host names and their addresses.

    A lookup has a thread of its own, at most one per name, so that a resolver that hangs holds nobody up
    for longer than ``patience`` seconds, and nobody at all while an answer is still kept.
    """

    lookup: Lookup = lookup
    clock: Callable[[], float] = time.monotonic
    patience: float = PATIENCE_SECONDS
    _known: dict[str, _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def matches(self, host: str, address: Address | None) -> bool:
        """Whether a connection from ``address`` comes from ``host``: any, an address, a network or a name."""
        if host in ANY:
            return True
        if address is None:
            return False
        if "/" in host:
            return address in ip_network(host)
        return address in self.addresses(host)

    def addresses(self, host: str) -> frozenset[Address]:
        """Those of an address or a name; none for a name that is not found."""
        literal = address_of(host)
        return self._of_name(host) if literal is None else frozenset({literal})

    def _of_name(self, name: str) -> frozenset[Address]:
        with self._lock:
            known = self._known.setdefault(name, _Known())
            under_way = self._asked(name, known)
            kept = self.clock() - known.found_at < KEPT_SECONDS
        if under_way is not None and not kept:
            under_way.wait(self.patience)
        with self._lock:
            return known.addresses if self.clock() - known.found_at < KEPT_SECONDS else frozenset()

    def _asked(self, name: str, known: _Known) -> threading.Event | None:
        """The lookup that is under way, begun if the last answer is not fresh any more."""
        if known.under_way is None and self.clock() - known.asked_at >= FRESH_SECONDS:
            known.under_way = threading.Event()
            threading.Thread(target=self._ask, args=(name, known, known.under_way), daemon=True,
                             name=f"lookup-{name}").start()
        return known.under_way

    def _ask(self, name: str, known: _Known, done: threading.Event) -> None:
        reason, found = "it has no address", frozenset[Address]()
        try:
            found = self.lookup(name)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a name at all, such as one of 300 letters
            reason = str(error)
        with self._lock:
            known.asked_at, known.under_way = self.clock(), None
            if found:
                known.addresses, known.found_at = found, known.asked_at
            elif not known.failed:
                log.warning("Host %s cannot be resolved and matches nobody: %s", name, reason,
                            extra={"action": "host.unresolved", "host": name})
            known.failed = not found
        done.set()
