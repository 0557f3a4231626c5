"""May this association come in, and why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from handlers.association import Admitted, Caller
from handlers.rejections import Reason, Rejection
from node.config import Config, Peer
from node.errors import StorageError
from node.hosts import HostNames, address_of


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What an association that came in holds until it ends."""

    peer: tuple[str, str]
    is_alive: Callable[[], bool]


@dataclass(frozen=True, order=True)
class _Miss:
    """How far an entry of ``receive.allowed_peers`` got with a caller, and what it was missing."""

    fit: int
    text: str


class Admission:
    """Decides about each request for an association, and counts who is in. Used by all threads of a receiver.

    A connection that has made no request yet, or was rejected, holds no place. A place is free again when
    :meth:`leave` is called, and at the latest when its ``is_alive`` says so: an association may end in any way.
    ``free_mb`` tells the free disk space and may raise StorageError.
    """

    def __init__(self, config: Config, free_mb: Callable[[], int], names: HostNames) -> None:
        self._node = config.node
        self._receive = config.receive
        self._known = (
            *(Peer(ae_title=one.ae_title, host=one.host) for one in config.destinations),
            *(Peer(ae_title=one.ae_title, host=one.host) for one in config.peers),
        )
        self._free_mb = free_mb
        self._names = names
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def enter(self, caller: Caller, is_alive: Callable[[], bool]) -> Admitted | Rejection:
        """Let ``caller`` in, or say why not."""
        found = self._entry(caller)
        if isinstance(found, Rejection):
            return found
        entry, may_store = found
        rejection = self._wrongly_called(caller) or self._congested(caller) or self._take_place(caller, entry, is_alive)
        return rejection or Admitted(may_store=may_store)

    def leave(self, association: str) -> None:
        """The association of this name ends; one that never came in is no error."""
        with self._lock:
            self._places.pop(association, None)

    def _entry(self, caller: Caller) -> tuple[Peer, bool] | Rejection:
        """The first entry that fits, and whether the caller may store. Only ``receive.allowed_peers`` may."""
        misses = [_Miss(0, f"calling AE title {caller.calling_ae_title!r} is not in receive.allowed_peers")]
        for peer in self._receive.allowed_peers:
            miss = self._miss(peer, caller)
            if miss is None:
                return peer, True
            misses.append(miss)
        for peer in self._known:  # archives report on storage commitment on associations of their own
            miss = self._miss(peer, caller)
            if miss is None:
                return peer, False
            misses.append(miss)
        return Rejection(reason=Reason.CALLING_AE_TITLE_NOT_RECOGNISED, text=max(misses).text)

    def _miss(self, peer: Peer, caller: Caller) -> _Miss | None:
        """What keeps ``caller`` from being ``peer``, None when nothing does."""
        title = caller.calling_ae_title
        if peer.ae_title not in ("*", title):
            same = peer.ae_title.lower() == title.lower()
            return _Miss(int(same), f"calling AE title {title!r} differs from {peer.ae_title!r} by case, which counts"
                         if same else "")
        if not self._names.matches(peer.host, address_of(caller.source_host)):
            return _Miss(2, f"calling AE title {title!r} may come from {peer.host}, not from {caller.source_host}")
        if peer.certificate and caller.certificate is None:
            return _Miss(3, f"calling AE title {title!r} has to come over TLS with the certificate {peer.certificate}")
        if peer.certificate and caller.certificate is not None and not caller.certificate.bears(peer.certificate):
            return _Miss(4, f"calling AE title {title!r} needs the certificate {peer.certificate}, "
                            f"its own bears {', '.join(caller.certificate.names) or 'no name'}")
        return None

    def _wrongly_called(self, caller: Caller) -> Rejection | None:
        if not self._receive.require_called_ae_title or caller.called_ae_title == self._node.ae_title:
            return None
        return Rejection(
            reason=Reason.CALLED_AE_TITLE_NOT_RECOGNISED,
            text=f"called AE title {caller.called_ae_title!r} is not node.ae_title {self._node.ae_title!r}, "
                 "which receive.require_called_ae_title asks for")

    def _congested(self, caller: Caller) -> Rejection | None:
        """While disk is low, those who would store are sent away before C-STORE has to answer 0xA700."""
        watermark = self._receive.low_disk_watermark_mb
        if not caller.proposes_storage or not watermark:
            return None
        try:
            free = self._free_mb()
        except StorageError as error:
            return Rejection(reason=Reason.TEMPORARY_CONGESTION, text=str(error))
        if free >= watermark:
            return None
        return Rejection(
            reason=Reason.TEMPORARY_CONGESTION,
            text=f"{free} MB are free in {self._node.data_dir}, receive.low_disk_mb is {watermark}; free some space")

    def _take_place(self, caller: Caller, entry: Peer, is_alive: Callable[[], bool]) -> Rejection | None:
        peer = (caller.calling_ae_title, caller.source_host)
        each = entry.max_associations or self._receive.max_associations_per_peer
        with self._lock:
            self._places = {name: place for name, place in self._places.items() if place.is_alive()}
            if len(self._places) >= self._receive.max_associations:
                return _too_many(f"{len(self._places)} associations are open", "receive.max_associations")
            own = sum(place.peer == peer for place in self._places.values())
            if own >= each:
                setting = "max_associations in receive.allowed_peers" if entry.max_associations else (
                    "receive.max_associations_per_peer")
                return _too_many(f"{own} associations of {peer[0]} at {peer[1]} are open", setting)
            self._places[caller.association] = _Place(peer=peer, is_alive=is_alive)
        return None


def _too_many(found: str, setting: str) -> Rejection:
    return Rejection(reason=Reason.LOCAL_LIMIT_EXCEEDED, text=f"{found}, which is {setting}")
