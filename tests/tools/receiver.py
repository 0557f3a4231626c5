"""A receiver on a free port, and a storage SCU that sends bytes as they are."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE

from node.config import Config
from node.database import audit_event, connect, instance, metadata
from node.domain import CommitmentReport
from node.intake import Intake, StoreRequest
from node.server import Server
from tests.tools.waiting import wait_until

REAL = Path(__file__).parents[1] / "data" / "real"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
CHAIN = "receiver-test"
ENGINES = ("standard", "fast")
"""Values of ``receive.engine`` that receiving is tested with."""


@dataclass(frozen=True)
class Sent:
    """One instance as it goes over the network."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes

    def request(self, **changed: str | bool) -> StoreRequest:
        """The same, as intake is asked."""
        values: dict[str, Any] = {
            "sop_class_uid": self.sop_class_uid, "sop_instance_uid": self.sop_instance_uid,
            "transfer_syntax_uid": self.transfer_syntax_uid, "calling_ae_title": "MODALITY",
            "called_ae_title": "AINODE", "source_host": "127.0.0.1", "association_id": "a1", "may_store": True,
        }
        return StoreRequest(**values | changed)


def real(name: str) -> Sent:
    """A file of tests/data/real, its data set untouched."""
    return sent(REAL / name)


def sent(path: Path) -> Sent:
    """A Part 10 file, its data set untouched."""
    with path.open("rb") as file:
        read_preamble(file, False)
        meta = _read_file_meta_info(file)
        return Sent(
            str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID),
            file.read(),
        )


def made(
    sop_instance_uid: str = "1.2.3.4", *, study: str = "1.2.3.1", series: str = "1.2.3.2", sop_class: str = CT,
    transfer_syntax: str = EXPLICIT_LITTLE, filling: int = 0,
) -> Sent:
    """An Explicit VR Little Endian data set with its identity, Modality, and ``filling`` bytes in front of the UIDs."""
    data = _element(0x0008, 0x0016, b"UI", sop_class) + _element(0x0008, 0x0018, b"UI", sop_instance_uid)
    data += _element(0x0008, 0x0060, b"CS", "CT")
    if filling:
        data += struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, filling) + bytes(filling)
    data += _element(0x0020, 0x000D, b"UI", study) + _element(0x0020, 0x000E, b"UI", series)
    data += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 8) + b"pixels!!"
    return Sent(sop_class, sop_instance_uid, transfer_syntax, data)


def _element(group: int, element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii") + b"\x00" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(encoded)) + encoded if value else b""


@dataclass
class Receiver:
    """A started :class:`Server` and what it leaves behind."""

    port: int
    server: Server
    engine: sa.Engine
    data_dir: Path
    commitments: list[CommitmentReport] = field(default_factory=list)

    def rows(self) -> Sequence[Any]:
        """Instance rows in their order."""
        return rows_of(self.engine)

    def actions(self) -> list[str]:
        """Audit actions in their order."""
        return actions_of(self.engine)

    def files(self, folder: str) -> list[Path]:
        """Every file under ``folder`` of the data directory."""
        return files_in(self.data_dir / folder)

    def received(self) -> list[bytes]:
        """Data sets as they were stored, in the order of their rows."""
        return [stored_data_set(self.data_dir / row.path) for row in self.rows()]

    def associations(self) -> int:
        """How many there are now."""
        return len(self.server._entity.active_associations)

    def clear(self) -> None:
        """Forget rows and files when the last association has ended."""
        wait_until(lambda: not self.associations(), what="the associations before to end")
        with self.engine.begin() as connection:
            connection.execute(sa.delete(instance))
        for path in self.files("."):
            path.unlink()


def rows_of(engine: sa.Engine) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(sa.select(instance).order_by(instance.c.id)).all()


def actions_of(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(audit_event.c.action).order_by(audit_event.c.at, audit_event.c.seq)))


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def stored_data_set(path: Path) -> bytes:
    """The data set of a Part 10 file that the node wrote, as bytes: what is behind its own group 0002."""
    data = path.read_bytes()
    return data[144 + struct.unpack_from("<I", data, 140)[0]:]


@contextmanager
def receiver(
    engine: sa.Engine, data_dir: Path, on_commitment: Callable[[CommitmentReport], None] | None = None,
    *, min_free_mb: int = 0, port: int = 0, **sections: Any,
) -> Iterator[Receiver]:
    """A receiver on a loopback port, a free one unless named. ``sections`` are those of the configuration.

    Nobody is sent away for a low disk unless ``receive.low_disk_mb`` says so.
    """
    commitments: list[CommitmentReport] = []
    sections["receive"] = {"low_disk_mb": 0, **sections.get("receive", {})}
    sections.setdefault("node", {"port": port, "data_dir": data_dir})
    config = Config(**sections)
    intake = Intake(engine, data_dir, CHAIN, min_free_mb)
    server = Server(config, intake, on_commitment or commitments.append, engine, CHAIN)
    try:
        yield Receiver(server.start(), server, engine, data_dir, commitments)
    finally:
        server.stop()


@contextmanager
def receiver_in(folder: Path, **sections: Any) -> Iterator[Receiver]:
    """A receiver with a SQLite database of its own in ``folder``."""
    engine = connect(f"sqlite:///{folder / 'node.sqlite'}")
    metadata.create_all(engine)
    with receiver(engine, folder / "data", **sections) as node:
        yield node
    engine.dispose()


@contextmanager
def association(
    port: int, *contexts: tuple[str, str], ae_title: str = "MODALITY", called: str = "AINODE",
    host: str = "127.0.0.1", **more: Any,
) -> Iterator[Association]:
    """An association with one presentation context per (SOP class, transfer syntax); released at the end."""
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    wanted = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    made_one = entity.associate(host, port, contexts=wanted, ae_title=called, **more)
    _look_again(made_one)
    try:
        yield made_one
    finally:
        if made_one.is_established:
            made_one.release()


def store(made_one: Association, sent: Sent, *, command_class: str = "", command_uid: str = "") -> int:
    """C-STORE the bytes as they are; the status."""
    wanted = (sent.sop_class_uid, sent.transfer_syntax_uid)
    context = next(
        found for found in made_one.accepted_contexts if (found.abstract_syntax, found.transfer_syntax[0]) == wanted
    )
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID = command_class or sent.sop_class_uid
    request._affected_sop_instance_uid = UID(command_uid or sent.sop_instance_uid)  # unchecked, as a bad peer sends it
    request.DataSet = BytesIO(sent.data)
    return exchanged(made_one, request, context.context_id)


def exchanged(made_one: Association, request: Any, context_id: int) -> int:
    """The status that a request is answered with, whatever is in it: nothing is checked before it leaves."""
    made_one._reactor_checkpoint.clear()
    try:
        made_one.dimse.send_msg(request, context_id)
        _, response = made_one.dimse.get_msg(block=True)
        assert response is not None, "no answer"
        return int(response.Status)
    finally:
        made_one._reactor_checkpoint.set()


def send(port: int, sent: Sent, **command: str) -> int:
    """C-STORE on an association of its own; the status."""
    with association(port, (sent.sop_class_uid, sent.transfer_syntax_uid)) as made_one:
        return store(made_one, sent, **command)


def _look_again(made_one: Association) -> None:
    """Take in a rejection that came before pynetdicom's requestor asked whether it is connected: it calls that an abort
    and leaves the answer where it is."""
    answer = made_one.dul.receive_pdu() if made_one.is_aborted else None
    if isinstance(answer, A_ASSOCIATE) and answer.result:
        made_one.is_aborted, made_one.is_rejected = False, True
        made_one.acceptor.primitive = answer


def rejection(made_one: Association) -> tuple[int, int, int]:
    """Result, source and reason a requestor was given."""
    assert made_one.is_rejected
    primitive = made_one.acceptor.primitive
    return primitive.result, primitive.result_source, primitive.diagnostic


def details(node: Receiver, action: str) -> list[dict[str, Any]]:
    """What the audit says about every ``action``."""
    wanted = sa.select(audit_event.c.detail).where(audit_event.c.action == action).order_by(audit_event.c.seq)
    with node.engine.connect() as connection:
        return [json.loads(text) for text in connection.scalars(wanted)]


def audited(node: Receiver, action: str, count: int = 1) -> list[dict[str, Any]]:
    """The same, once there are ``count`` of them."""
    wait_until(lambda: len(details(node, action)) >= count, what=f"{count} times {action} in the audit")
    return details(node, action)
