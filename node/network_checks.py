"""What ``ainode check`` can see of the network without a peer: who may come in, limits, names, TLS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from node.config import Config, Peer, ReceiveTLS
from node.errors import ConfigurationError
from node.hosts import ANY, HostNames, is_loopback, is_name
from node.tls import Certificate, authority_expiry, own_certificate, server_context

UNSPECIFIED = ("0.0.0.0", "::", "")
RESOLVER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing to know about a setting; a ``problem`` keeps something from working."""

    setting: str
    problem: bool
    text: str


def remarks(config: Config, names: HostNames | None = None) -> Iterator[Remark]:
    """Everything there is to say; nothing when all is well."""
    yield from _open_to_all(config)
    yield from _limits(config)
    yield from _disk(config)
    yield from _titles(config)
    yield from _unresolved(config, names or HostNames(patience=RESOLVER_SECONDS))
    yield from _way_back(config)
    yield from _untold(config)
    yield from _bindings(config)
    if config.receive.tls.port:
        yield from _tls(config)


def _warning(setting: str, text: str) -> Remark:
    return Remark(setting=setting, problem=False, text=text)


def _problem(setting: str, text: str) -> Remark:
    return Remark(setting=setting, problem=True, text=text)


def _open_to_all(config: Config) -> Iterator[Remark]:
    anybody = any(peer.ae_title == "*" and peer.host in ANY and not peer.certificate
                  for peer in config.receive.allowed_peers)
    if anybody and not is_loopback(config.node.host):
        yield _warning("receive.allowed_peers", "anybody who reaches the port may store under any AE title; "
                                                "name the senders with their addresses")


def _limits(config: Config) -> Iterator[Remark]:
    receive = config.receive
    each = [("receive.max_associations_per_peer", receive.max_associations_per_peer)]
    each += [(f"receive.allowed_peers[{number}].max_associations", peer.max_associations)
             for number, peer in enumerate(receive.allowed_peers)]
    for setting, limit in each:
        if limit >= receive.max_associations:
            yield _warning(setting, f"{limit} is not below receive.max_associations ({receive.max_associations}): "
                                    "one peer can take every place and keep commitment reports out")


def _disk(config: Config) -> Iterator[Remark]:
    low, least = config.receive.low_disk_watermark_mb, config.receive.min_free_disk_mb
    if low < least:
        yield _warning("receive.low_disk_mb", f"{low} is below receive.min_free_disk_mb ({least}): senders are let in "
                                              "and then answered 0xA700, image by image")


def _titles(config: Config) -> Iterator[Remark]:
    named = [(f"receive.allowed_peers[{number}].ae_title", peer.ae_title)
             for number, peer in enumerate(config.receive.allowed_peers)]
    named += [(f"destinations.{one.name}.ae_title", one.ae_title) for one in config.destinations]
    named += [(f"peers[{number}].ae_title", one.ae_title) for number, one in enumerate(config.peers)]
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for setting, title in named:
        if title != title.strip():
            yield _problem(setting, f"{title!r} has blanks at its ends, which no AE title has; remove them")
        spellings[title.strip().lower()].setdefault(title.strip(), setting)
    for twins in spellings.values():
        if len(twins) > 1:
            yield _warning(", ".join(twins.values()), f"{' and '.join(twins)} are different AE titles: case counts")


def _unresolved(config: Config, names: HostNames) -> Iterator[Remark]:
    hosts = [(f"receive.allowed_peers[{number}].host", peer.host)
             for number, peer in enumerate(config.receive.allowed_peers)]
    hosts += [(f"peers[{number}].host", one.host) for number, one in enumerate(config.peers)]
    for setting, host in hosts:
        if is_name(host) and not names.addresses(host):
            yield _problem(setting, f"{host} cannot be resolved, so nobody comes from there; give an address")


def _way_back(config: Config) -> Iterator[Remark]:
    archive = config.receive.storage_commitment.archive
    away = [one.name for one in config.destinations
            if (one.storage_commitment or one.name == archive) and not is_loopback(one.host)]
    if away and is_loopback(config.node.host):
        yield _warning("node.host", f"{config.node.host} is reached from this machine only: {', '.join(away)} cannot "
                                    "open an association to report on storage commitment")


def _untold(config: Config) -> Iterator[Remark]:
    """Senders by name that may ask for storage commitment and could not be told the outcome."""
    if not config.receive.storage_commitment.archive:
        return
    known = {*(one.ae_title for one in config.peers), *(one.ae_title for one in config.destinations)}
    for peer in config.receive.allowed_peers:
        if peer.ae_title not in ("*", *known):
            yield _warning("receive.storage_commitment", f"{peer.ae_title} is not in peers: its requests are answered "
                                                         "0x0124, because it could not be told the outcome")


def _bindings(config: Config) -> Iterator[Remark]:
    """A certificate that nobody has to show binds nothing."""
    peers = config.receive.allowed_peers
    tls = config.receive.tls
    for number, bound in enumerate(peers):
        setting = f"receive.allowed_peers[{number}].certificate"
        if bound.certificate and not (tls.port and tls.ca):
            yield _problem(setting, "nobody is asked for a certificate: set receive.tls.port and receive.tls.ca")
        elif bound.certificate and (other := _without_certificate(bound, peers)) is not None:
            yield _warning(setting, f"receive.allowed_peers[{other}] lets {bound.ae_title} in without this certificate")


def _without_certificate(bound: Peer, peers: Sequence[Peer]) -> int | None:
    fitting = (number for number, peer in enumerate(peers)
               if not peer.certificate and peer.ae_title in ("*", bound.ae_title))
    return next(fitting, None)


def _tls(config: Config) -> Iterator[Remark]:
    tls, now = config.receive.tls, datetime.now(UTC)
    try:
        server_context(tls)
        certificate = own_certificate(tls)
        authorities = authority_expiry(tls.ca) if tls.ca is not None else []
    except ConfigurationError as error:
        yield _problem("receive.tls", str(error))
        return
    yield from _expiry(certificate, tls, now)
    for name, not_after in authorities:
        if not_after <= now:
            yield _problem("receive.tls.ca", f"{name} expired on {not_after:%Y-%m-%d}; nobody it signed is let in")
    if tls.ca is None:
        yield _warning("receive.tls.ca", "is not set: the TLS port hides what is sent, and asks nobody who they are")
    yield from _names(certificate, config.node.host)


def _expiry(certificate: Certificate, tls: ReceiveTLS, now: datetime) -> Iterator[Remark]:
    if certificate.not_before > now:
        yield _problem("receive.tls.certificate", f"is valid from {certificate.not_before:%Y-%m-%d} only")
    if warning := certificate.expiry_warning(now, tls.expiry_warning_days):
        yield Remark(setting="receive.tls.certificate", problem=certificate.is_expired(now), text=warning)


def _names(certificate: Certificate, host: str) -> Iterator[Remark]:
    known = (*certificate.names, *certificate.addresses)
    if host not in UNSPECIFIED and not certificate.bears(host) and host not in certificate.addresses:
        yield _warning("receive.tls.certificate", f"bears {', '.join(known) or 'no name'}, not node.host = {host}: "
                                                  "peers that compare names have to call it by one of these")
