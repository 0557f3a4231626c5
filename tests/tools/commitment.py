"""A sender that asks the node to commit, and the node's relay with a clerk that works when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.sop_class import StorageCommitmentPushModel

from node import delivery
from node.commitment import action_information
from node.config import CommitmentSCP, Config
from node.database import instance, transaction
from node.delivery.requests import list_requests
from node.dicom_client import COMMITMENT_INSTANCE, DicomClient, TimeOuts
from node.domain import JSON, CommitmentReport
from node.stages import sending
from tests.tools.node_in_process import StraightJobs
from tests.tools.receiver import EXPLICIT_LITTLE, Receiver, Sent, exchanged, receiver
from tests.tools.waiting import wait_until

SENDER = "MODALITY"
CHAIN = "clerk"
SUCCESS = 0x0000


@dataclass(frozen=True)
class Told:
    """One report as a sender heard it."""

    transaction_uid: str
    event_type: int
    committed: list[tuple[str, str]]
    failed: list[tuple[str, str, int]]
    #: Whether it came on the association that asked.
    same: bool

    @classmethod
    def of(cls, event: Any, *, same: bool) -> Told:
        said = event.event_information
        return cls(
            str(said.TransactionUID), int(event.event_type),
            [_pair(item) for item in said.get("ReferencedSOPSequence") or ()],
            [(*_pair(item), int(item.FailureReason)) for item in said.get("FailedSOPSequence") or ()], same)


def _pair(item: Dataset) -> tuple[str, str]:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)


class Sender:
    """Asks for storage commitment and hears reports, on the association that asked or at its own port."""

    def __init__(self, ae_title: str = SENDER, port: int = 0) -> None:
        self.ae_title, self.port = ae_title, port
        #: What it answers to the next reports, Success after them.
        self.statuses: list[int] = []
        #: While set, it lets a report wait for its answer.
        self.hesitates = threading.Event()
        self.told: list[Told] = []
        self._server: Any = None

    def ask(self, port: int, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> int | None:
        """N-ACTION on an association that is released at once; the status."""
        with self.association(port) as made:
            return self.ask_on(made, transaction_uid, instances)

    @staticmethod
    def ask_on(made: Association, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> int | None:
        return send_action(made, action_information(transaction_uid, instances))

    @contextmanager
    def association(self, port: int, *, roles: Sequence[Any] = (), contexts: Sequence[Any] = ()) -> Iterator[Any]:
        entity = AE(self.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        made = entity.associate(
            "127.0.0.1", port, [build_context(StorageCommitmentPushModel, EXPLICIT_LITTLE), *contexts], "AINODE",
            ext_neg=list(roles), evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda event: self._hear(event, same=True))])
        try:
            yield made
        finally:
            if made.is_established:
                made.release()

    def _hear(self, event: Any, *, same: bool) -> tuple[int, None]:
        self.told.append(Told.of(event, same=same))
        if self.hesitates.is_set():
            wait_until(lambda: not self.hesitates.is_set(), 60)
        return (self.statuses.pop(0) if self.statuses else SUCCESS), None

    def __enter__(self) -> Sender:
        entity = AE(self.ae_title)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda event: self._hear(event, same=False))])
        self.port = self._server.server_address[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hesitates.clear()
        self._server.shutdown()


def send_action(
    made: Association, information: Dataset | None, *, action: int = 1, instance_uid: str = COMMITMENT_INSTANCE
) -> int | None:
    """The status, None without an answer."""
    reply, _ = made.send_n_action(information, action, StorageCommitmentPushModel, UID(instance_uid))
    return reply.get("Status")


def send_action_bytes(made: Association, data: bytes) -> int:
    """The same with Action Information that is not encoded from anything."""
    context = next(one for one in made.accepted_contexts if one.abstract_syntax == StorageCommitmentPushModel)
    request = N_ACTION()
    request.MessageID, request.ActionTypeID = 1, 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = StorageCommitmentPushModel, COMMITMENT_INSTANCE
    request.ActionInformation = BytesIO(data)
    return exchanged(made, request, context.context_id)


@dataclass
class RelayNode:
    """A receiver with an archive behind it, and the clerk's part on :class:`StraightJobs`."""

    node: Receiver
    relay: delivery.Relay
    jobs: StraightJobs
    #: What the receiver does with a report.
    record: Callable[[CommitmentReport], None]

    @property
    def port(self) -> int:
        return self.node.port

    def turn(self) -> None:
        """One round of the clerk."""
        self.relay.turn()
        self.jobs.run()

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Round after round until ``condition``; its value."""

        def turned() -> Any:
            self.turn()
            return condition()

        return wait_until(turned, 30, what or f"{self.requests()}")

    def read_all(self) -> None:
        """The clerk has read every instance; this state may be had by several with one UID."""
        with transaction(self.node.engine) as connection:
            connection.execute(sa.update(instance).where(instance.c.state == "received").values(state="superseded"))

    def requests(self) -> list[JSON]:
        with transaction(self.node.engine) as connection:
            return list_requests(connection)

    def state(self) -> str:
        row, = self.requests()
        return str(row["state"])


@contextmanager
def relay_node(
    engine: sa.Engine, data_dir: Path, archive_port: int, *senders: Sender, timeout_seconds: float = 60.0,
    receive_engine: str = "standard", port: int = 0, **delivery_section: Any,
) -> Iterator[RelayNode]:
    """``senders`` are in ``peers``; ``delivery_section`` are settings of ``delivery``."""
    sections: JSON = {
        "destinations": [{"name": "archive", "ae_title": "PACS", "host": "127.0.0.1", "port": archive_port}],
        "peers": [{"ae_title": one.ae_title, "host": "127.0.0.1", "port": one.port} for one in senders],
        "delivery": {"retry_seconds": [0.05, 0.1], "last_repeats": 1, **delivery_section},
    }
    service = {"archive": "archive", "timeout_seconds": timeout_seconds}

    def record(report: CommitmentReport) -> None:
        with transaction(engine) as connection:
            delivery.record_commitment(connection, "receiver", report)

    jobs = StraightJobs(engine)
    config = Config(**sections)
    office = delivery.Office(
        engine=engine, chain=CHAIN, put=jobs.put, client=DicomClient("AINODE", TimeOuts(commitment=0)),
        destinations={one.name: one for one in config.destinations}, settings=config.delivery, data_dir=data_dir,
        allow_demo=False)
    relay = delivery.Relay(office=office, settings=CommitmentSCP(**service),
                           callbacks=delivery.callbacks(config.peers, config.destinations))
    jobs.stages = {stage.name: stage for stage in sending.relay_jobs(relay)}
    receive = {"storage_commitment": service, "engine": receive_engine}
    with receiver(engine, data_dir, record, port=port, receive=receive, **sections) as node:
        yield RelayNode(node, relay, jobs, record)


def pair(sent: Sent) -> tuple[str, str]:
    """As a request names it."""
    return sent.sop_class_uid, sent.sop_instance_uid
