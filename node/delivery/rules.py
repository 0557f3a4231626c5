"""What may be sent, what an answer means, when it is tried again: pure rules of delivery."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from node.config import DeliverySection, Destination
from node.domain import DeliveryState
from node.worklist import WEAKEST_FIRST

NO_SUCH_OBJECT_INSTANCE = 0x0112
"""Failure Reason of a commitment report (PS3.3 C.14.1.1): the peer does not hold the instance."""

DUPLICATE_SOP_INSTANCE = 0x0111
SUCCESS = 0x0000

#: No answer will ever be another one: invalid instance, class not supported, not authorised (PS3.7 Annex C).
PERMANENT = frozenset({0x0117, 0x0118, 0x0119, 0x0122, 0x0124})

OPEN = (DeliveryState.QUEUED, DeliveryState.SENT)
"""Still to be proved."""


def gate(destination: Destination, demo_model: bool, allow_demo: bool) -> str:
    """Empty, or why nothing may be sent there: a demo model's results stay on this machine."""
    if not demo_model or may_have_demo(destination.host, allow_demo):
        return ""
    return (
        f"destination {destination.name}: {destination.host} is not this machine, and results of demo models "
        "stay here unless models.allow_demo_delivery is true"
    )


def may_have_demo(host: str, allow_demo: bool) -> bool:
    """If results of demo models may go to ``host``, pushed or fetched."""
    return allow_demo or is_loopback(host)


def is_loopback(host: str) -> bool:
    """If ``host`` is 127.0.0.0/8, ::1 or localhost as written; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def judge(sent: bool, status: int | None) -> DeliveryState:
    """What one C-STORE proves (PS3.4 B.2.3): stored, failed for good, or sent or queued to be tried again.

    A warning (0xBxxx, PS3.7 Annex C) stores. A duplicate too: nobody else makes our UIDs.
    """
    if status is None:
        return DeliveryState.SENT if sent else DeliveryState.QUEUED
    if status in (SUCCESS, DUPLICATE_SOP_INSTANCE) or 0xB000 <= status <= 0xBFFF:
        return DeliveryState.STORED
    if status in PERMANENT or 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF:
        return DeliveryState.FAILED
    return DeliveryState.QUEUED


def retry_delay(settings: DeliverySection, attempt: int) -> float | None:
    """Seconds from failed attempt number ``attempt`` (from 1) to the next; None when no attempt is left."""
    delays = settings.retry_seconds
    if attempt <= len(delays):
        return delays[attempt - 1]
    return delays[-1] if attempt <= len(delays) + settings.last_repeats else None


def weakest(states: Iterable[DeliveryState]) -> DeliveryState:
    """The least proof among instances and destinations; discarded ones do not count, ``none`` when none does."""
    known = (state for state in states if state in WEAKEST_FIRST)
    return min(known, key=WEAKEST_FIRST.index, default=DeliveryState.NONE)
