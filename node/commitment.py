"""Action and Event Information of the Storage Commitment Push Model (PS3.4 J.3) as our own values, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from struct import error as StructError

from pydicom.dataset import Dataset

from node.domain import CommitmentReport, CommitmentVerdict
from node.errors import BadInput

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
FAILURE_REASONS = frozenset({PROCESSING_FAILURE, NO_SUCH_OBJECT_INSTANCE, 0x0213, 0x0122, CLASS_INSTANCE_CONFLICT})
"""Failure Reasons (PS3.3 C.14.1.1) that mean to a sender what they mean to us.

0x0131, a Transaction UID in use, is not among them: an archive says it of the node's own transaction.
"""

ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs of a report (PS3.4 table J.3-2)."""

LARGEST_REQUEST = 100_000
"""Instances of one request; a study of so many images is not known."""

_UID = re.compile(r"[0-9A-Za-z.]{1,64}")
"""What intake takes for a UID, so that whatever was received can be asked for."""

#: What pydicom raises for a data set that is cut off, not one at all, or nested without end.
UNREADABLE = (
    OSError, EOFError, AttributeError, KeyError, NotImplementedError, RecursionError, StructError, TypeError,
    ValueError,
)


def commitment_report(information: Dataset) -> CommitmentReport:
    """The Event Information of an N-EVENT-REPORT (PS3.4 table J.3-2).

    Raises:
        BadInput: it names no transaction.
    """
    transaction_uid = str(information.get("TransactionUID", ""))
    if not transaction_uid:
        raise BadInput("storage commitment report: Transaction UID (0008,1195) is missing; nothing can be recorded")
    return CommitmentReport(
        transaction_uid=transaction_uid,
        committed=tuple(
            str(item.get("ReferencedSOPInstanceUID", "")) for item in information.get("ReferencedSOPSequence") or ()),
        failed=tuple(
            (str(item.get("ReferencedSOPInstanceUID", "")), int(item.get("FailureReason", PROCESSING_FAILURE)))
            for item in information.get("FailedSOPSequence") or ()),
    )


def requested_instances(information: Dataset) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Transaction UID, and (SOP Class UID, SOP Instance UID) of each instance once, of an N-ACTION (table J.3-1).

    Raises:
        BadInput: it cannot be read, or nobody could be told about all of it.
    """
    try:
        transaction_uid = _usable(information, "TransactionUID", "the request")
        items = information.get("ReferencedSOPSequence") or ()
        if not 0 < len(items) <= LARGEST_REQUEST:
            raise BadInput(
                f"storage commitment {transaction_uid}: Referenced SOP Sequence (0008,1199) has {len(items)} items; "
                f"expected 1 to {LARGEST_REQUEST}")
        pairs = tuple(
            (_usable(item, "ReferencedSOPClassUID", transaction_uid),
             _usable(item, "ReferencedSOPInstanceUID", transaction_uid)) for item in items)
    except UNREADABLE as error:
        raise BadInput(f"storage commitment: the request cannot be read ({type(error).__name__})") from error
    return transaction_uid, tuple(dict.fromkeys(pairs))


def _usable(item: Dataset, keyword: str, where: str) -> str:
    value = str(item.get(keyword) or "")
    if not _UID.fullmatch(value):
        raise BadInput(
            f"storage commitment: {keyword} {value[:80]!r} in {where} is not 1 to 64 characters of [0-9A-Za-z.]")
    return value


def action_information(transaction_uid: str, references: Iterable[tuple[str, str]]) -> Dataset:
    """PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(*reference) for reference in references]
    return information


def event_information(verdict: CommitmentVerdict) -> tuple[int, Dataset]:
    """Event Type ID and Event Information (PS3.4 table J.3-2)."""
    information = Dataset()
    information.TransactionUID = verdict.transaction_uid
    if verdict.committed:
        information.ReferencedSOPSequence = [_item(*reference) for reference in verdict.committed]
    if verdict.failed:
        information.FailedSOPSequence = _failed(verdict.failed)
    return FAILURES_EXIST if verdict.failed else ALL_COMMITTED, information


def _failed(failed: Sequence[tuple[str, str, int]]) -> list[Dataset]:
    items = []
    for sop_class_uid, sop_instance_uid, reason in failed:
        item = _item(sop_class_uid, sop_instance_uid)
        item.FailureReason = reason
        items.append(item)
    return items


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
