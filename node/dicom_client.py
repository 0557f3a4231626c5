"""The node as SCU of what it sends: C-ECHO, C-STORE, C-FIND, and both requests of storage commitment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind, Verification

from node.commitment import PROCESSING_FAILURE, action_information, commitment_report, event_information
from node.config import Destination
from node.dicom_association import (
    PENDING,
    SUCCESS,
    Caller,
    TimeOuts,
    peer_name,
    status_of,
    status_text,
)
from node.domain import CommitmentReport, CommitmentVerdict, StoreOutcome
from node.errors import BadInput, NoPresentationContext, PeerError, PeerRefused

log = logging.getLogger(__name__)

COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""The well-known SOP Instance of the Storage Commitment Push Model (PS3.4 J.3.5)."""

CLASS_NOT_SUPPORTED = 0x0122
CANNOT_UNDERSTAND = 0xC000
#: N-ACTION statuses a repetition cannot change (PS3.7 10.1.4.1.10): class, instance, action, rights, operation.
NEVER = frozenset({0x0112, 0x0117, 0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211})

#: What pydicom raises for a file that is not there, not DICOM, cut off, or nested without end.
UNREADABLE = (OSError, EOFError, InvalidDicomError, AttributeError, RecursionError, StructError, ValueError)

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MAX_CONTEXTS = 128


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID


class DicomClient:
    """Implements :class:`node.interfaces.PacsClient`. Has no state besides its settings: any thread may use it."""

    def __init__(self, ae_title: str, time_outs: TimeOuts | None = None) -> None:
        self._time_outs = time_outs or TimeOuts()
        self._caller = Caller(ae_title, self._time_outs)

    def echo(self, destination: Destination) -> None:
        """C-ECHO. Raises PeerError."""
        with self._caller.association(destination, [build_context(Verification)]) as association:
            status = status_of(association.send_c_echo())
        if status != SUCCESS:
            raise PeerError(f"{peer_name(destination)}: C-ECHO was answered with {status_text(status)}")

    def refused_classes(self, destination: Destination, sop_class_uids: Sequence[str]) -> tuple[str, ...]:
        """Which of these classes the peer would not take. Only negotiates, sends nothing. Raises PeerError."""
        try:
            with self._caller.association(destination, [build_context(uid) for uid in sop_class_uids]) as association:
                accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        except NoPresentationContext:
            return tuple(sop_class_uids)
        return tuple(uid for uid in sop_class_uids if uid not in accepted)

    def store(self, destination: Destination, files: Sequence[Path]) -> list[StoreOutcome]:
        """C-STORE every file on one association, in order; an outcome per file.

        A file that cannot leave has ``sent`` False and the status a peer would have given
        (PS3.4 B.2.3): 0x0122 when its class or syntax was not accepted, 0xC000 when it cannot be read.

        Raises:
            PeerError: no association could be made, so nothing left.
        """
        return list(self.store_each(destination, files))

    def store_each(
        self, destination: Destination, files: Sequence[Path], originator: tuple[str, int] | None = None
    ) -> Generator[StoreOutcome, None, None]:
        """The same, one outcome after another; closed before its end, it sends no more.

        ``originator`` is the AE title that asked for this by C-MOVE, and the Message ID of its request.
        """
        heads = [_head(path) for path in files]
        contexts = _storage_contexts([head for head in heads if head is not None])
        if not contexts:
            yield from (_unreadable() for _ in heads)
            return
        try:
            with self._caller.association(destination, contexts) as association:
                yield from _store_all(association, heads, originator)
        except NoPresentationContext as error:
            yield from (_unreadable() if head is None else _not_accepted(head, str(error)) for head in heads)

    def request_commitment(
        self, destination: Destination, transaction_uid: str, references: Sequence[tuple[str, str]]
    ) -> CommitmentReport | None:
        """N-ACTION (PS3.4 J.3.2) for (SOP Class UID, SOP Instance UID) pairs; the report if it came at once.

        Raises:
            PeerRefused: the peer does not offer storage commitment, or not to us.
            PeerError: the request was not accepted.
        """
        box = _ReportBox(transaction_uid)
        handlers = [(evt.EVT_N_EVENT_REPORT, box.handle)]
        contexts = [build_context(StorageCommitmentPushModel)]
        with self._caller.association(destination, contexts, handlers) as association:
            reply, _ = association.send_n_action(
                action_information(transaction_uid, references), 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
            status = status_of(reply)
            if status == SUCCESS:
                return box.wait(self._time_outs.commitment)
        kind = PeerRefused if status in NEVER else PeerError
        raise kind(f"{peer_name(destination)}: the storage commitment request was answered with {status_text(status)}")

    def report_commitment(self, sender: Destination, verdict: CommitmentVerdict) -> None:
        """N-EVENT-REPORT (PS3.4 J.3.3) on a new association, on which the requestor selects the SCP role.

        Raises:
            PeerError: the sender did not take it.
        """
        event_type, information = event_information(verdict)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        contexts = [build_context(StorageCommitmentPushModel)]
        with self._caller.association(sender, contexts, extended=[role]) as association:
            reply, _ = association.send_n_event_report(
                information, event_type, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
            status = status_of(reply)
        if status != SUCCESS:
            answered = status_text(status)
            raise PeerError(f"{peer_name(sender)}: the storage commitment report was answered with {answered}")

    def find_instances(
        self, destination: Destination, study_instance_uid: str, series_instance_uid: str,
        sop_instance_uids: Sequence[str],
    ) -> frozenset[str]:
        """Which of these instances of one series the peer holds: C-FIND at IMAGE level (PS3.4 C.6.2).

        Raises:
            PeerError: the peer does not offer the query, or it failed.
        """
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = series_instance_uid
        identifier.SOPInstanceUID = list(sop_instance_uids)
        model = StudyRootQueryRetrieveInformationModelFind
        found: set[str] = set()
        with self._caller.association(destination, [build_context(model)]) as association:
            for reply, match in association.send_c_find(identifier, model):
                status = status_of(reply)
                if status in PENDING and match is not None:
                    found.add(str(match.get("SOPInstanceUID", "")))
                elif status != SUCCESS:
                    raise PeerError(f"{peer_name(destination)}: C-FIND was answered with {status_text(status)}")
        return frozenset(found) & frozenset(sop_instance_uids)


class _ReportBox:
    """Catches the N-EVENT-REPORT of one transaction on the association that asked for it."""

    def __init__(self, transaction_uid: str) -> None:
        self._transaction_uid = transaction_uid
        self._arrived = threading.Event()
        self._report: CommitmentReport | None = None

    def handle(self, event: Any) -> tuple[int, None]:
        """Answer Success to our own transaction only: another one's report would be lost here."""
        try:
            report = commitment_report(event.event_information)
        except BadInput:
            return PROCESSING_FAILURE, None
        if report.transaction_uid != self._transaction_uid:
            return PROCESSING_FAILURE, None
        self._report = report
        self._arrived.set()
        return SUCCESS, None

    def wait(self, seconds: float) -> CommitmentReport | None:
        self._arrived.wait(seconds)
        return self._report


def _head(path: Path) -> _File | None:
    """What has to be proposed for a Part 10 file; None when it cannot be read."""
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        if not (dataset.SOPClassUID and dataset.SOPInstanceUID):
            return None
        return _File(
            path=path, sop_class_uid=dataset.SOPClassUID, sop_instance_uid=dataset.SOPInstanceUID,
            transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID)
    except UNREADABLE as error:
        log.warning("%s cannot be read as DICOM: %s", path, type(error).__name__, extra={"action": "store.unreadable"})
        return None


def _storage_contexts(heads: Sequence[_File]) -> list[Any]:
    """One context per class for Explicit and Implicit LE, one more per class and any other syntax."""
    wanted = {
        (head.sop_class_uid, UNCOMPRESSED if head.transfer_syntax_uid in UNCOMPRESSED else (head.transfer_syntax_uid,))
        for head in heads
    }
    return [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in sorted(wanted)][:MAX_CONTEXTS]


def store_over(association: Association, files: Iterable[Path]) -> Generator[StoreOutcome, None, None]:
    """C-STORE every file on an association that somebody else made, as C-GET wants it; outcomes as of ``store``."""
    return _store_all(association, (_head(path) for path in files), None)


def _store_all(
    association: Association, heads: Iterable[_File | None], originator: tuple[str, int] | None
) -> Generator[StoreOutcome, None, None]:
    """After the first request without an answer nothing more is sent: the association ends, soon or already."""
    ended = False
    for number, head in enumerate(heads, start=1):
        ended = ended or not association.is_established
        if head is None:
            outcome = _unreadable()
        elif ended:
            outcome = _outcome(head, sent=False, status=None, reason="the association had ended")
        else:
            outcome = _store(association, number, head, originator)
        ended = ended or outcome.status is None
        yield outcome


def _store(
    association: Association, number: int, head: _File, originator: tuple[str, int] | None
) -> StoreOutcome:
    if not _accepted(association, head):
        return _not_accepted(head, f"no presentation context was accepted for {head.sop_class_uid.name}")
    try:
        dataset = dcmread(head.path)
    except UNREADABLE:
        return _unreadable()
    if not dataset:  # pydicom gives nothing at all of a data set that breaks off in its pixel data
        return _outcome(head, sent=False, status=CANNOT_UNDERSTAND, reason="the file cannot be read: it is cut off")
    title, message_id = originator or (None, None)
    try:
        status = status_of(association.send_c_store(
            dataset, msg_id=(number - 1) % 65535 + 1, originator_aet=title, originator_id=message_id))
    except (ValueError, AttributeError, RecursionError) as error:
        return _outcome(head, sent=False, status=CANNOT_UNDERSTAND, reason=f"cannot be encoded: {error}")
    except RuntimeError:  # the association ended between the look and the call
        return _outcome(head, sent=False, status=None, reason="the association had ended")
    reason = "no answer came" if status is None else "" if status == SUCCESS else f"answered {status_text(status)}"
    return _outcome(head, sent=True, status=status, reason=reason)


def _accepted(association: Association, head: _File) -> bool:
    """If a context on which we may store carries the file's syntax, or one uncompressed for another."""
    syntaxes = UNCOMPRESSED if head.transfer_syntax_uid in UNCOMPRESSED else (head.transfer_syntax_uid,)
    return any(
        context.abstract_syntax == head.sop_class_uid and context.transfer_syntax[0] in syntaxes and context.as_scu
        for context in association.accepted_contexts
    )


def _outcome(head: _File, *, sent: bool, status: int | None, reason: str) -> StoreOutcome:
    return StoreOutcome(sop_instance_uid=str(head.sop_instance_uid), sent=sent, status=status, reason=reason)


def _not_accepted(head: _File, reason: str) -> StoreOutcome:
    return _outcome(head, sent=False, status=CLASS_NOT_SUPPORTED, reason=reason)


def _unreadable() -> StoreOutcome:
    return StoreOutcome(sop_instance_uid="", sent=False, status=CANNOT_UNDERSTAND, reason="the file cannot be read")
