"""One instance from its C-STORE command to its row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from node.errors import BadInput, ClassMismatch, NotAuthorised, StorageError, UnusableIdentity
from node.header import ScannedHead, require_usable, scan
from node.intake.files import InstanceFiles
from node.intake.incoming import IncomingFile
from node.intake.lanes import LaneOf, always_fresh
from node.intake.ledger import Ledger, Outcome
from node.intake.part10 import StoreRequest, file_meta
from node.intake.safekeeping import Deposit, Safekeeping
from node.intake.staging import Buffer
from node.intake.underway import Underway, Watch

log = logging.getLogger(__name__)

FIRST_LOOK = 1 << 16
"""Bytes of the data set's head that are scanned first; four times as many, and again, while that is too few."""
LONG_LOOK = 16 * FIRST_LOOK
"""Bytes that are scanned of what takes long to arrive."""


class Intake:
    """Where instances come in. One per process; its methods may be called from any thread.

    ``chain`` names the audit chain of this process. ``wake`` is called after each commit and must not raise.
    """

    def __init__(
        self, engine: sa.Engine, data_dir: Path, chain: str, min_free_mb: int,
        wake: Callable[[], None] = lambda: None, lane: LaneOf = always_fresh, underway: Underway | None = None,
    ) -> None:
        self._ledger = Ledger(engine, chain)
        self._files = InstanceFiles(data_dir, min_free_mb)
        self._safekeeping = Safekeeping(self._files, self._ledger, wake)
        self._lane = lane
        self.underway = underway or Underway(engine, chain)

    def sweep(self) -> int:
        """Remove what killed receivers left half-way; how many files that were. Call it at start.

        Raises:
            StorageError: the database cannot say which of them were recorded.
        """
        self.underway.sweep()
        removed = self._files.sweep(self._ledger.recorded)
        if removed:
            log.warning("%d unfinished instances were removed", removed, extra={"action": "intake.swept"})
        return removed

    def free_mb(self) -> int:
        """Free space of the disk that instances go to. Raises StorageError."""
        return self._files.free_mb()

    def begin(self, request: StoreRequest) -> Reception:
        """Take ``request`` on.

        Raises:
            NotAuthorised: the peer may not store.
            UnusableIdentity: the SOP Instance UID of the command.
            OutOfSpace: less than the configured reserve is free.
            StorageError: the file cannot be made.
        """
        try:
            _require_authority(request)
            require_usable("0", "0", request.sop_instance_uid)  # a command names only this one of the three
        except (NotAuthorised, UnusableIdentity) as error:
            self._ledger.refused(request, error)
            raise
        return Reception(request, self._files.open(file_meta(request)), self._ledger, self._safekeeping, self._lane,
                         self.underway.watch(request.association_id))


def _require_authority(request: StoreRequest) -> None:
    if not request.may_store:
        raise NotAuthorised(
            f"{request.calling_ae_title} at {request.source_host} may associate as a destination or peer of the node, "
            "but not store; add it to receive.allowed_peers if it may")


class Reception:
    """An instance on its way in. Ends with :meth:`finish` or :meth:`abandon`; after an error there is nothing to do."""

    def __init__(
        self, request: StoreRequest, file: IncomingFile, ledger: Ledger, safekeeping: Safekeeping, lane: LaneOf,
        watch: Watch,
    ) -> None:
        self._request = request
        self._file = file
        self._ledger = ledger
        self._safekeeping = safekeeping
        self._lane = lane
        self._watch = watch

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append encoded bytes of the data set.

        Raises:
            OutOfSpace: the disk is full.
            StorageError: the disk refused.
        """
        try:
            self._file.write(buffers)
        except StorageError:
            self.abandon()
            raise
        self._watch.wrote(self._head_so_far)

    def finish(self) -> Outcome:
        """Make the instance durable, then known. Whoever asked may be answered Success when this returns.

        Raises:
            UnusableIdentity: Study, Series or SOP Instance UID of the data set; its bytes are in quarantine.
            ClassMismatch: the data set is of another class than the command.
            StorageError: disk or database refused; nothing is kept that was not recorded.
        """
        try:
            outcome = self._published()
            self._safekeeping.keep(Deposit(file=self._file, request=self._request, outcome=outcome))
        finally:
            self._file.close()  # after an error nobody expected: the next sweep asks whether it was recorded
            self._watch.ended()  # not before it is recorded: its study must not look quiet in between
        log.debug(
            "Instance %s was received", outcome.sop_instance_uid,
            extra={"action": "instance.received", "study_instance_uid": outcome.study_instance_uid,
                   "size": outcome.size, "association": self._request.association_id},
        )
        return outcome

    def abandon(self) -> None:
        """The rest will not come: forget what came."""
        self._file.discard()
        self._watch.ended()

    def _published(self) -> Outcome:
        try:
            head = self._identified()
            self._file.publish()
        except BadInput as error:
            self._refuse(error)
            raise
        except StorageError:
            self._file.discard()
            raise
        return Outcome.of(self._request, head, self._lane(head, self._request), self._file.path, self._file.size)

    def _identified(self) -> ScannedHead:
        head = self._scanned()
        require_usable(head.study_instance_uid, head.series_instance_uid, head.sop_instance_uid)
        if head.sop_class_uid not in ("", self._request.sop_class_uid):
            raise ClassMismatch(
                f"{head.sop_instance_uid}: the data set is of class {head.sop_class_uid[:64]!r}, "
                f"the command says {self._request.sop_class_uid}"
            )
        return head

    def _scanned(self) -> ScannedHead:
        size = FIRST_LOOK
        while True:
            data = self._file.head(size)
            head = scan(data, self._request.transfer_syntax_uid, last=len(data) < size)
            if head.complete:
                return head
            size *= 4

    def _head_so_far(self) -> ScannedHead:
        return scan(self._file.head(LONG_LOOK), self._request.transfer_syntax_uid)

    def _refuse(self, error: BadInput) -> None:
        try:
            kept = self._file.quarantine() if isinstance(error, UnusableIdentity) else ""
        finally:
            self._file.discard()
        self._ledger.refused(self._request, error, kept)
