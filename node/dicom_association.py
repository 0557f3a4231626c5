"""Associations that the node opens.

What pynetdicom raises, or says by an empty status, becomes a PeerError here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, Association

from node.config import Destination
from node.errors import NoPresentationContext, PeerError, PeerRefused

SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)
REJECTED_PERMANENT = 1


@dataclass(frozen=True, kw_only=True)
class TimeOuts:
    """Seconds. ``commitment`` is how long an association stays open for a report that may come on it."""

    connect: float = 10.0
    acse: float = 30.0
    dimse: float = 60.0
    network: float = 120.0
    commitment: float = 1.0


class Caller:
    """Calls peers under one AE title. Has no state besides its settings: any thread may use it."""

    def __init__(self, ae_title: str, time_outs: TimeOuts) -> None:
        self._ae_title = ae_title
        self._time_outs = time_outs

    @contextmanager
    def association(
        self, destination: Destination, contexts: list[Any], handlers: Sequence[tuple[Any, Any]] = (),
        extended: Sequence[Any] = (),
    ) -> Iterator[Association]:
        """An established association, released at the end.

        Raises:
            PeerRefused: the peer said never.
            PeerError: there is no association, or it broke.
        """
        entity = AE(self._ae_title)
        entity.connection_timeout = self._time_outs.connect
        entity.acse_timeout = self._time_outs.acse
        entity.dimse_timeout = self._time_outs.dimse
        entity.network_timeout = self._time_outs.network
        try:
            association = entity.associate(
                destination.host, destination.port, contexts, destination.ae_title, evt_handlers=list(handlers),
                ext_neg=list(extended))
        except OSError as error:  # the host name cannot be resolved
            raise PeerError(f"{peer_name(destination)}: {error.strerror or error}; check host and network") from error
        if not association.is_established:
            raise _refusal(association, destination)
        try:
            yield association
        except (ValueError, RuntimeError) as error:
            raise PeerError(f"{peer_name(destination)}: the request could not be sent ({error})") from error
        finally:
            association.release()


def status_of(reply: Dataset) -> int | None:
    """Status (0000,0900); None when there was no valid answer."""
    return int(reply.Status) if "Status" in reply else None


def status_text(status: int | None) -> str:
    """A status for a message."""
    return "nothing" if status is None else f"0x{status:04X}"


def peer_name(destination: Destination) -> str:
    """Name and place of a peer for a message."""
    return f"{destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"


def _refusal(association: Association, destination: Destination) -> PeerError:
    """Why there is no association (PS3.8 9.3.4): permanent rejection is PeerRefused, everything else may pass."""
    peer = peer_name(destination)
    if association.is_rejected:
        answer = association.acceptor.primitive
        kind = PeerRefused if answer.result == REJECTED_PERMANENT else PeerError
        return kind(f"{peer}: rejected the association ({answer.result_str}: {answer.reason_str})")
    if association.rejected_contexts:
        names = ", ".join(sorted({context.abstract_syntax.name for context in association.rejected_contexts}))
        return NoPresentationContext(f"{peer}: accepted no presentation context for {names}")
    return PeerError(f"{peer}: no association; check that it runs, host, port and AE titles")
