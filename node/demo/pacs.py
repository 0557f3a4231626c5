"""A small PACS for the demonstration and the acceptance tests: archive, modality and troublemaker.

It stores every class in every syntax, answers queries for instances, commits on a new association,
and, where its switches say so, misbehaves as archives in the field do.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind, Verification

from node.config import Destination
from node.dicom_client import COMMITMENT_INSTANCE, DicomClient
from node.domain import StoreOutcome
from node.errors import NodeError

log = logging.getLogger(__name__)

SUCCESS, PENDING = 0x0000, 0xFF00
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
NO_SUCH_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0112, 0x0119
ALL_SUCCEEDED, WITH_FAILURES = 1, 2
"""Event Type IDs of a commitment report (PS3.4 Table J.3-2)."""

ROUTED_BACK_TIMES = 3


@dataclass(frozen=True, kw_only=True)
class PacsSwitches:
    """What the archive does wrong. Everything off is an archive that behaves."""

    #: Send every object it gets back to the node, three times.
    route_back: bool = False
    #: Change Patient ID and Accession Number of what it stores, and so of what it routes back.
    coerce_ids: bool = False
    #: When the first report of a study arrives, send all its source images again.
    resend_all: bool = False
    #: When the first report of a study arrives, send one more image of it.
    add_late_image: bool = False
    #: Answer 0xA700 to the first C-STORE of every instance.
    refuse_first: bool = False
    #: Leave the first C-STORE of every instance unanswered, then drop the association.
    hang: bool = False
    #: How long ``hang`` lasts before the association is dropped.
    hang_seconds: float = 600.0
    #: Say 0x0000, then not have the instance when first asked to commit it.
    lose_first: bool = False
    #: Accept the request for commitment and never report.
    never_report: bool = False


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One instance in the archive's folder."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    file: Path


class SmallPacs:
    """Listens on a loopback port from ``with`` on; 0 takes a free one. Everything it knows is in memory.

    ``sources`` are the images it plays the modality for. Tell it with :meth:`meet` where the node listens.
    """

    def __init__(
        self, ae_title: str, folder: Path, switches: PacsSwitches | None = None, *, sources: Sequence[Path] = (),
        port: int = 0,
    ) -> None:
        self.ae_title = ae_title
        self.switches = switches or PacsSwitches()
        self.sources = tuple(sources)
        self.port = port
        self._folder = folder
        self._node: Destination | None = None
        self._changed = threading.Condition()
        self._objects: dict[str, StoredObject] = {}
        self._committed: set[str] = set()
        self._received: list[str] = []
        self._problems: list[str] = []
        self._refused: set[str] = set()
        self._lost: set[str] = set()
        self._hung: set[str] = set()
        self._answered_studies: set[str] = set()
        self._closing = threading.Event()
        self._errands: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._worker = threading.Thread(target=self._work, name=f"pacs-{ae_title}", daemon=True)
        self._server: Any = None

    def meet(self, ae_title: str, host: str, port: int) -> None:
        """Say where the node is: for commitment reports and for everything that is sent to it."""
        self._node = Destination(name="node", ae_title=ae_title, host=host, port=port)

    def __enter__(self) -> SmallPacs:
        self._folder.mkdir(parents=True, exist_ok=True)
        entity = AE(self.ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[
            (evt.EVT_C_STORE, self._on_store), (evt.EVT_N_ACTION, self._on_action), (evt.EVT_C_FIND, self._on_find)])
        self.port = self._server.server_address[1]
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._errands.put(None)
        self._worker.join()
        self._server.shutdown()

    @property
    def objects(self) -> dict[str, StoredObject]:
        """What it holds, by SOP Instance UID, as of now."""
        with self._changed:
            return dict(self._objects)

    @property
    def committed(self) -> frozenset[str]:
        """SOP Instance UIDs of which the node acknowledged the commitment report."""
        with self._changed:
            return frozenset(self._committed)

    @property
    def received(self) -> tuple[str, ...]:
        """SOP Instance UID of every C-STORE, in order, also of those it refused."""
        with self._changed:
            return tuple(self._received)

    @property
    def problems(self) -> tuple[str, ...]:
        """What it could not send to the node, and why."""
        with self._changed:
            return tuple(self._problems)

    def wait_for(self, predicate: Callable[[SmallPacs], bool], timeout: float) -> bool:
        """Until ``predicate`` holds, looked at whenever something changes; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout)

    def send(self, files: Sequence[Path]) -> list[StoreOutcome]:
        """Send files to the node, as a modality. Raises PeerError."""
        node = self._known_node()
        return DicomClient(self.ae_title).store(node, files)

    def resend_sources(self) -> None:
        """Send every source image again, soon, from the archive's own thread."""
        self._errands.put(lambda: self.send(self.sources))

    # What others ask of it.

    def _on_store(self, event: Any) -> int:
        uid, switches = str(event.request.AffectedSOPInstanceUID), self.switches
        with self._changed:
            self._received.append(uid)
            hang = switches.hang and uid not in self._hung
            refuse = switches.refuse_first and uid not in self._refused
            self._hung.add(uid)
            self._refused.add(uid)
            self._changed.notify_all()
        if hang:
            self._closing.wait(switches.hang_seconds)
            event.assoc.abort()
        if hang or refuse:
            return OUT_OF_RESOURCES
        try:
            self._keep(_written(event.encoded_dataset(), self._folder, switches.coerce_ids))
        except (OSError, AttributeError, ValueError) as error:
            log.error("cannot store: %s", type(error).__name__, extra={"action": "demo.pacs.store"})
            return CANNOT_UNDERSTAND
        return SUCCESS

    def _keep(self, kept: StoredObject) -> None:
        with self._changed:
            self._objects[kept.sop_instance_uid] = kept
            report = kept.modality == "SR" and kept.study_instance_uid not in self._answered_studies
            if report:
                self._answered_studies.add(kept.study_instance_uid)
            self._changed.notify_all()
        if self.switches.route_back:
            self._errands.put(lambda: [self.send([kept.file]) for _ in range(ROUTED_BACK_TIMES)])
        if report and self.switches.resend_all:
            self._errands.put(lambda: self.send(self._sources_of(kept.study_instance_uid)))
        if report and self.switches.add_late_image:
            self._errands.put(lambda: self.send([self._late_image(kept.study_instance_uid)]))

    def _on_action(self, event: Any) -> tuple[int, None]:
        asked = event.action_information
        if not self.switches.never_report:
            self._errands.put(lambda: self._report(self._answer(asked)))
        return SUCCESS, None

    def _on_find(self, event: Any) -> Iterator[tuple[int, Dataset]]:
        identifier = event.identifier
        wanted = identifier.get("SOPInstanceUID") or []
        for uid in [wanted] if isinstance(wanted, str) else wanted:
            known = self.objects.get(str(uid))
            if known is None or known.series_instance_uid != identifier.get("SeriesInstanceUID"):
                continue
            match = Dataset()
            match.QueryRetrieveLevel = "IMAGE"
            match.StudyInstanceUID = known.study_instance_uid
            match.SeriesInstanceUID = known.series_instance_uid
            match.SOPInstanceUID = known.sop_instance_uid
            yield PENDING, match

    # What it does by itself, one errand after the other.

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            try:
                errand()
            except (NodeError, OSError) as error:
                log.warning("errand failed: %s", error, extra={"action": "demo.pacs.errand"})
                with self._changed:
                    self._problems.append(str(error))
                    self._changed.notify_all()

    def _answer(self, asked: Dataset) -> tuple[int, Dataset]:
        """Event Type ID and Event Information for a request (PS3.4 Table J.3-2)."""
        answer = Dataset()
        answer.TransactionUID = asked.TransactionUID
        held: list[Dataset] = []
        failed: list[Dataset] = []
        for item in asked.ReferencedSOPSequence:
            reason = self._failure(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            if reason:
                item.FailureReason = reason
            (failed if reason else held).append(item)
        if held:
            answer.ReferencedSOPSequence = held
        if failed:
            answer.FailedSOPSequence = failed
        return WITH_FAILURES if failed else ALL_SUCCEEDED, answer

    def _failure(self, sop_class_uid: str, sop_instance_uid: str) -> int:
        with self._changed:
            if self.switches.lose_first and sop_instance_uid not in self._lost:
                self._lost.add(sop_instance_uid)
                self._objects.pop(sop_instance_uid, None)
            known = self._objects.get(sop_instance_uid)
        if known is None:
            return NO_SUCH_INSTANCE
        return 0 if known.sop_class_uid == sop_class_uid else CLASS_INSTANCE_CONFLICT

    def _report(self, answer: tuple[int, Dataset]) -> None:
        """N-EVENT-REPORT on a new association, on which the requestor is the SCP (PS3.7 D.3.3.4)."""
        node, (event_type, information) = self._known_node(), answer
        association = AE(self.ae_title).associate(
            node.host, node.port, [build_context(StorageCommitmentPushModel)], node.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)])
        if not association.is_established:
            raise ConnectionError(f"{node.ae_title} at {node.host}:{node.port} took no commitment report")
        status, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        association.release()
        if status.get("Status") != SUCCESS:
            raise ConnectionError(f"{node.ae_title} answered a commitment report with {status.get('Status')}")
        with self._changed:
            held = information.get("ReferencedSOPSequence") or ()
            self._committed.update(str(item.ReferencedSOPInstanceUID) for item in held)
            self._changed.notify_all()

    def _sources_of(self, study_instance_uid: str) -> list[Path]:
        return [path for path in self.sources
                if dcmread(path, stop_before_pixels=True).StudyInstanceUID == study_instance_uid]

    def _late_image(self, study_instance_uid: str) -> Path:
        """A further image of the study's first series: the first one under a UID of its own."""
        sources = self._sources_of(study_instance_uid)
        if not sources:
            raise FileNotFoundError(f"no source image of study {study_instance_uid}")
        dataset = dcmread(sources[0])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = int(dataset.get("InstanceNumber") or 1) + len(sources)
        path = self._folder / f"late-{uuid.uuid4().hex}.dcm"
        dataset.save_as(path)
        return path

    def _known_node(self) -> Destination:
        if self._node is None:
            raise ConnectionError(f"{self.ae_title}: meet(ae_title, host, port) was not called")
        return self._node


def send(
    files: Sequence[Path], host: str, port: int, ae_title: str, calling_ae_title: str = "MODALITY"
) -> list[StoreOutcome]:
    """Send files somewhere, as a modality; an outcome per file. Raises PeerError."""
    return DicomClient(calling_ae_title).store(
        Destination(name="target", ae_title=ae_title, host=host, port=port), files)


def _written(encoded: bytes, folder: Path, coerce_ids: bool) -> StoredObject:
    """The received bytes as a Part 10 file, and what the index says of it."""
    path = folder / f"{uuid.uuid4().hex}.dcm"
    path.write_bytes(encoded)
    dataset = dcmread(path)
    if coerce_ids:
        dataset.PatientID = f"LOCAL-{dataset.get('PatientID', '')}"
        dataset.AccessionNumber = f"C{dataset.get('AccessionNumber', '')}"[:16]
        dataset.save_as(path)
    return StoredObject(
        sop_class_uid=str(dataset.SOPClassUID), sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID), series_instance_uid=str(dataset.SeriesInstanceUID),
        modality=str(dataset.get("Modality", "")), file=path)
