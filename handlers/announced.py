"""What a Modality Performed Procedure Step or an Instance Availability Notification says, as our own values.

Only what completion needs is read: a status, and the UIDs of studies and instances. All else stays unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from struct import error as StructError
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from handlers.statuses import Refused, Status
from node.domain import PerformedStepStatus

MOST_INSTANCES = 100_000
"""Instances of one announcement; a study of so many is not known."""
MOST_STUDIES = 100
"""Studies of one procedure step."""

#: What pydicom raises for a data set that is cut off, not one at all, or nested without end.
UNREADABLE = (
    OSError, EOFError, AttributeError, KeyError, NotImplementedError, RecursionError, StructError, TypeError,
    ValueError,
)

REFERENCED = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
TO_COME = ("ONLINE", "NEARLINE")
NOT_TO_COME = ("OFFLINE", "UNAVAILABLE")
"""Values of Instance Availability (0008,0056) (PS3.4 table R.3.2-1)."""

_UID = re.compile(r"[0-9A-Za-z.]{1,64}")


class Step(NamedTuple):
    """``status`` and ``instances`` are None where a message does not speak about them."""

    studies: tuple[str, ...]
    status: PerformedStepStatus | None
    instances: tuple[str, ...] | None


def step_of(attributes: Dataset) -> Step:
    """A Modality Performed Procedure Step (PS3.4 table F.7.2-1), as far as ``attributes`` describe it.

    Raises:
        Refused: with the status that says what is wrong.
    """
    try:
        return Step(_studies(attributes), _status(attributes), _performed(attributes))
    except UNREADABLE as error:
        raise _unreadable(error) from error


def notification_of(attributes: Dataset) -> tuple[str, tuple[str, ...]]:
    """Study Instance UID, and the instances to come, of an Instance Availability Notification (PS3.4 table R.3.2-1).

    Raises:
        Refused: with the status that says what is wrong.
    """
    try:
        require(attributes, "StudyInstanceUID", "ReferencedSeriesSequence")
        return _uid(attributes, "StudyInstanceUID"), bounded(_available(attributes))
    except UNREADABLE as error:
        raise _unreadable(error) from error


def require(attributes: Dataset, *keywords: str) -> None:
    """Raise Refused for the first of ``keywords`` that is missing, or that has no value."""
    for keyword in keywords:
        if keyword not in attributes:
            raise Refused(Status.MISSING_ATTRIBUTE, f"{keyword} is missing")
        if not attributes.get(keyword):
            raise Refused(Status.MISSING_ATTRIBUTE_VALUE, f"{keyword} has no value")


def usable(uid: str) -> bool:
    """Whether intake would take it for a UID."""
    return _UID.fullmatch(uid) is not None


def _studies(attributes: Dataset) -> tuple[str, ...]:
    found = [_uid(item, "StudyInstanceUID") for item in _items(attributes, "ScheduledStepAttributesSequence")]
    if len(found) > MOST_STUDIES:
        raise Refused(Status.RESOURCE_LIMITATION, f"a step of {len(found)} studies; at most {MOST_STUDIES} are taken")
    return tuple(dict.fromkeys(found))


def _status(attributes: Dataset) -> PerformedStepStatus | None:
    if "PerformedProcedureStepStatus" not in attributes:
        return None
    require(attributes, "PerformedProcedureStepStatus")
    value = str(attributes.PerformedProcedureStepStatus).strip()
    if value not in {status.value for status in PerformedStepStatus}:
        raise Refused(Status.INVALID_ATTRIBUTE_VALUE, f"PerformedProcedureStepStatus {value[:16]!r} is not known")
    return PerformedStepStatus(value)


def _performed(attributes: Dataset) -> tuple[str, ...] | None:
    if "PerformedSeriesSequence" not in attributes:
        return None
    return bounded(
        _uid(item, "ReferencedSOPInstanceUID")
        for series in _items(attributes, "PerformedSeriesSequence")
        for keyword in REFERENCED for item in _items(series, keyword))


def _available(attributes: Dataset) -> Iterator[str]:
    for series in _items(attributes, "ReferencedSeriesSequence"):
        for item in _items(series, "ReferencedSOPSequence"):
            value = str(item.get("InstanceAvailability") or "").strip()
            if not value:
                raise Refused(Status.MISSING_ATTRIBUTE_VALUE, "InstanceAvailability has no value")
            if value not in TO_COME + NOT_TO_COME:
                raise Refused(Status.INVALID_ATTRIBUTE_VALUE, f"InstanceAvailability {value[:16]!r} is not known")
            uid = _uid(item, "ReferencedSOPInstanceUID")
            if value in TO_COME:
                yield uid


def _items(attributes: Dataset, keyword: str) -> Iterable[Dataset]:
    value = attributes.get(keyword)
    if value is None or value == "":
        return ()
    if not isinstance(value, Items):
        raise Refused(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} is not a sequence")
    return value


def bounded(uids: Iterable[str]) -> tuple[str, ...]:
    """Each of ``uids`` once, as long as they are not too many. Raises Refused."""
    found: dict[str, None] = {}
    for uid in uids:
        found[uid] = None
        if len(found) > MOST_INSTANCES:
            raise Refused(Status.RESOURCE_LIMITATION, f"more than {MOST_INSTANCES} instances are named")
    return tuple(found)


def _uid(item: Dataset, keyword: str) -> str:
    value = str(item.get(keyword) or "")
    if not value:
        raise Refused(Status.MISSING_ATTRIBUTE_VALUE, f"{keyword} has no value")
    if not usable(value):
        raise Refused(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} {value[:80]!r} is not 1 to 64 of [0-9A-Za-z.]")
    return value


def _unreadable(error: Exception) -> Refused:
    return Refused(Status.INVALID_ATTRIBUTE_VALUE, f"the data set cannot be read ({type(error).__name__})")
