"""The one database: engine, transactions and schema, on a SQLite file or PostgreSQL.

A write transaction starts with a write (``UPDATE … RETURNING``, ``INSERT``): SQLite takes its
write lock at the first write, and a value read before it may be stale by then. Points in time
are seconds since 1970 UTC, double precision.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.errors import ConfigurationError, StorageError

metadata = sa.MetaData()

BUSY_SECONDS = 30.0
"""How long one that writes to SQLite waits for another."""
LOOK_AGAIN_SECONDS = 0.0005
PAUSE_SECONDS = 1.0
"""After so long a kept connection may have been closed by the other end."""

UID = sa.String(64)
Seconds = sa.Float(53)


def _table(name: str, *parts: Any) -> sa.Table:
    return sa.Table(name, metadata, *parts)


def _column(name: str, kind: Any, default: Any = None, **more: Any) -> sa.Column[Any]:
    """A NOT NULL column; ``default`` is applied by the client on insert."""
    return sa.Column(name, kind, nullable=False, default=default, **more)


node_state = _table(
    "node_state",
    sa.Column("key", sa.String(128), primary_key=True),
    _column("value", sa.Text),
)
"""Facts about this installation, such as ``node_uid``."""

instance = _table(
    "instance",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("sop_class_uid", UID),
    _column("sop_instance_uid", UID),
    _column("study_instance_uid", UID),
    _column("series_instance_uid", UID),
    _column("transfer_syntax_uid", UID),
    _column("modality", sa.Text, ""),
    _column("path", sa.Text),
    _column("size", sa.BigInteger),
    _column("calling_ae_title", sa.String(16)),
    _column("called_ae_title", sa.String(16)),
    _column("source_host", sa.Text),
    _column("received_at", Seconds),
    #: What the receiver could tell from Study Date and Move Originator: fresh ones are looked at first.
    _column("lane", sa.String(16), "fresh", server_default="fresh"),
    _column("state", sa.String(16), "received"),
    #: True for an image that may be analysed; SR, KO, PR, SEG and PDF never are.
    _column("evidence", sa.Boolean, False),
    _column("reason", sa.Text, ""),
)
sa.Index("instance_state", instance.c.state, instance.c.lane, instance.c.id)
sa.Index("instance_sop", instance.c.sop_instance_uid, instance.c.state)
sa.Index("instance_study", instance.c.study_instance_uid, instance.c.state)
#: Two clerks must not accept one SOP Instance twice.
sa.Index("instance_accepted", instance.c.sop_instance_uid, unique=True,
         sqlite_where=instance.c.state == "accepted", postgresql_where=instance.c.state == "accepted")

series = _table(
    "series",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("series_instance_uid", UID, primary_key=True),
    _column("modality", sa.Text, ""),
    _column("instances", sa.Integer, 0),
    _column("opened_at", Seconds),
    _column("last_received_at", Seconds),
    #: How many instances it had when it was last put forward for early triage.
    _column("early_instances", sa.Integer, 0, server_default="0"),
)
"""One row per series: how many instances came, and when the last did."""

arriving = _table(
    "arriving",
    sa.Column("slot", sa.String(64), primary_key=True),
    sa.Column("association", sa.String(64), primary_key=True),
    _column("study_instance_uid", UID, index=True),
    _column("series_instance_uid", UID),
    _column("beat_at", Seconds),
)
"""Instances that take long to arrive, by who receives them: their study is not quiet while the beat is young."""

announcement = _table(
    "announcement",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("study_instance_uid", UID, primary_key=True),
    #: ``mpps`` (a Modality Performed Procedure Step) or ``ian`` (an Instance Availability Notification).
    _column("kind", sa.String(8)),
    _column("state", sa.String(16)),
    _column("calling_ae_title", sa.String(16)),
    _column("source_host", sa.Text),
    _column("announced_at", Seconds),
    _column("updated_at", Seconds),
)
sa.Index("announcement_study", announcement.c.study_instance_uid)

expected_instance = _table(
    "expected_instance",
    sa.Column("announcement_uid", UID, primary_key=True),
    sa.Column("sop_instance_uid", UID, primary_key=True),
)
"""Instances that an announcement names, until a version was started on them."""

commitment_request = _table(
    "commitment_request",
    sa.Column("transaction_uid", UID, primary_key=True),
    sa.Column("calling_ae_title", sa.String(16), primary_key=True),
    _column("source_host", sa.Text),
    #: Pairs of SOP Class and SOP Instance UID, as asked.
    _column("instances", sa.JSON, list),
    #: SOP Instance UIDs that the archive committed.
    _column("committed", sa.JSON, list),
    #: Triples of SOP Class UID, SOP Instance UID and Failure Reason.
    _column("failed", sa.JSON, list),
    _column("archive", sa.String(64)),
    #: The association it came on, while that is open.
    _column("association", sa.String(64), ""),
    _column("state", sa.String(16)),
    _column("reason", sa.Text, ""),
    _column("attempts", sa.Integer, 0),
    _column("requested_at", Seconds),
    _column("next_at", Seconds),
)
"""Storage commitment that senders asked for, until they have their answer."""
sa.Index("commitment_request_due", commitment_request.c.state, commitment_request.c.next_at)

rejection = _table(
    "rejection",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("study_instance_uid", UID, primary_key=True),
    _column("note_uid", UID),
    _column("rejected_at", Seconds),
)
"""Instances that a rejection note took out of use, whether they came before the note or come after it."""

study = _table(
    "study",
    sa.Column("study_instance_uid", UID, primary_key=True),
    _column("patient_id", sa.Text, ""),
    _column("accession_number", sa.Text, ""),
    _column("modality", sa.Text, ""),
    _column("study_date", sa.Text, ""),
    _column("lane", sa.String(16), "fresh"),
    _column("order_priority", sa.Integer, 50),
    #: The last version that was started; 0 before the first.
    _column("version", sa.Integer, 0),
    _column("versions_on", sa.String(10), ""),
    _column("versions_today", sa.Integer, 0),
    #: True while instances arrived that no version has seen.
    _column("open", sa.Boolean, True),
    _column("opened_at", Seconds),
    _column("last_received_at", Seconds),
    #: An operator or a command asked to complete, or to run again, now.
    _column("complete_requested", sa.Boolean, False),
    _column("replay_requested", sa.Boolean, False),
    #: How many more instances the source archive has than the node, and when it was asked; null when it does not say.
    sa.Column("source_missing", sa.Integer, nullable=True),
    sa.Column("source_asked_at", Seconds, nullable=True),
)
sa.Index("study_open", study.c.open, study.c.lane, study.c.last_received_at)
sa.Index("study_complete_requested", study.c.complete_requested)
sa.Index("study_replay_requested", study.c.replay_requested)

run = _table(
    "run",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    _column("started_at", Seconds),
    _column("trigger", sa.String(16)),
    #: Row ids of the instances this version is about.
    _column("instance_ids", sa.JSON, list),
    #: What each stage left for the next ones, by stage name.
    _column("results", sa.JSON, dict),
    _column("state", sa.String(16), "running"),
    _column("reason", sa.Text, ""),
)
sa.Index("run_state", run.c.state)

score = _table(
    "score",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("instance_id", sa.Integer, primary_key=True),
    sa.Column("model_sha256", sa.String(64), primary_key=True),
    sa.Column("prompt_set", sa.String(64), primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    _column("study_instance_uid", UID, index=True),
    _column("scores", sa.JSON, dict),
    #: Domain scores, where the prompt set has a gate.
    _column("gate", sa.JSON, dict),
    #: Of what was done to the pixels: scores of other pixels are not used again.
    _column("transforms_sha256", sa.String(64), ""),
    _column("scored_at", Seconds),
)
"""Triage scores per image, which is a frame of an instance: made as it arrived and used again at completion."""

embedding = _table(
    "embedding",
    sa.Column("instance_id", sa.Integer, primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    sa.Column("model_sha256", sa.String(64), primary_key=True),
    _column("sop_instance_uid", UID, index=True),
    _column("study_instance_uid", UID, index=True),
    #: ``dimension`` numbers, L2-normalised, float16, little endian.
    _column("vector", sa.LargeBinary),
    _column("dimension", sa.Integer),
    _column("scored_at", Seconds),
)
"""The image vector that a score was made from."""

worklist_entry = _table(
    "worklist_entry",
    sa.Column("study_instance_uid", UID, primary_key=True),
    _column("version", sa.Integer, 0),
    #: Order of the stages that wrote the entry; (version, phase) only moves forward.
    _column("phase", sa.Integer, 0),
    _column("state", sa.String(16), "receiving"),
    _column("reason", sa.Text, ""),
    sa.Column("ai_priority", sa.Integer, nullable=True),
    _column("findings", sa.JSON, list),
    _column("findings_state", sa.String(16), "pending"),
    _column("report_state", sa.String(16), "pending"),
    _column("waiting_since", Seconds),
    sa.Column("decisive_at", Seconds, nullable=True),
    sa.Column("flagged_at", Seconds, nullable=True),
    sa.Column("notified_at", Seconds, nullable=True),
    _column("demo_model", sa.Boolean, False),
    _column("updated_at", Seconds),
    #: What the dossier shows besides: impression, remarks, guardrails, models.
    _column("dossier", sa.JSON, dict),
)
sa.Index("worklist_entry_updated", worklist_entry.c.updated_at)

report = _table(
    "report",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    _column("study_instance_uid", UID, index=True),
    _column("version", sa.Integer),
    _column("kind", sa.String(32)),
    _column("sop_class_uid", UID),
    _column("series_instance_uid", UID),
    _column("path", sa.Text),
    #: A demo model spoke: where this may go is asked again before every attempt.
    _column("demo", sa.Boolean, False),
    _column("created_at", Seconds),
    sa.UniqueConstraint("study_instance_uid", "version", "kind"),
)
"""The outbox: objects we wrote. An inbound instance with one of these UIDs is an echo."""

result = _table(
    "result",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    _column("study_instance_uid", UID, index=True),
    _column("series_instance_uid", UID, index=True),
    _column("patient_id", sa.Text, "", index=True),
    _column("accession_number", sa.Text, "", index=True),
    #: YYYYMMDD, or empty.
    _column("study_date", sa.Text, "", index=True),
    #: Texts by DICOM keyword, several values separated by backslashes.
    _column("attributes", sa.JSON, dict),
)
"""What an object of ``report`` says of itself, so that a query (PS3.4 annex C) opens no file."""

delivery = _table(
    "delivery",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    _column("study_instance_uid", UID, index=True),
    _column("version", sa.Integer),
    _column("state", sa.String(16), "queued"),
    _column("attempts", sa.Integer, 0),
    #: Counts the operator's retries, so that a new series of attempts has new job ids.
    _column("round", sa.Integer, 1),
    sa.Column("status", sa.Integer, nullable=True),
    _column("reason", sa.Text, ""),
    _column("transaction_uid", UID, ""),
    _column("retry_requested", sa.Boolean, False),
    _column("updated_at", Seconds),
)
sa.Index("delivery_updated", delivery.c.updated_at)
sa.Index("delivery_retry", delivery.c.retry_requested)

commitment = _table(
    "commitment",
    sa.Column("transaction_uid", UID, primary_key=True),
    _column("destination", sa.String(64)),
    _column("study_instance_uid", UID),
    _column("version", sa.Integer),
    _column("requested_at", Seconds),
    sa.Column("answered_at", Seconds, nullable=True),
    #: The sender's own transaction that this one passes on; empty for the node's own objects.
    _column("sender_transaction_uid", UID, "", server_default=""),
    _column("sender_ae_title", sa.String(16), "", server_default=""),
)
"""Storage commitment transactions, written before the N-ACTION leaves."""

audit_chain = _table(
    "audit_chain",
    sa.Column("chain", sa.String(64), primary_key=True),
    _column("seq", sa.BigInteger, 0),
    _column("head", sa.String(64), ""),
)

audit_event = _table(
    "audit_event",
    sa.Column("chain", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    _column("at", Seconds, index=True),
    _column("action", sa.String(64), index=True),
    _column("study_instance_uid", UID, "", index=True),
    _column("sop_instance_uid", UID, ""),
    #: Canonical JSON text, so that a digest of it means the same on every database.
    _column("detail", sa.Text, "{}"),
    _column("previous", sa.String(64)),
    _column("digest", sa.String(64)),
)

audit_anchor = _table(
    "audit_anchor",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _column("at", Seconds),
    #: Canonical JSON text: every chain with its seq and head.
    _column("heads", sa.Text),
    _column("previous", sa.String(64)),
    _column("digest", sa.String(64)),
)

role_status = _table(
    "role_status",
    sa.Column("slot", sa.String(64), primary_key=True),
    _column("role", sa.String(16)),
    _column("incarnation", sa.String(32)),
    _column("pid", sa.Integer),
    _column("ready", sa.Boolean, False),
    _column("detail", sa.JSON, dict),
    _column("beat_at", Seconds),
)
"""One row per running role process: what ``/readyz`` looks at."""


def connect(url: str) -> sa.Engine:
    """An engine for ``url``; SQLite gets WAL, ``synchronous=FULL`` and a 30 s busy timeout.

    Raises:
        ConfigurationError: the URL is not one of SQLite or PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError as error:
        raise ConfigurationError("database.url: is not a URL; expected sqlite:///FILE or postgresql://…") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = sa.create_engine(parsed, hide_parameters=True, connect_args=options)
        sa.event.listen(engine, "connect", _sqlite_pragmas)
        return engine
    if backend == "postgresql":
        return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, hide_parameters=True)
    shown = parsed.render_as_string()  # without the password
    raise ConfigurationError(f"database.url = {shown!r}: expected sqlite:///FILE or postgresql://…")


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    busy_timeout = f"busy_timeout={BUSY_SECONDS * 1000:.0f}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", busy_timeout, "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that commits on leaving and rolls back on an error.

    Raises:
        StorageError: the database refused or could not be reached.
    """
    with _mapped(engine), engine.begin() as connection:
        yield connection


class Writer:
    """Transactions of one thread at a time, on a connection that stays: to take one from the pool and give it
    back costs as much as a small transaction. After a pause a fresh one is taken, which the pool has tried.

    SQLite lets one process write at a time, and who finds another at it sleeps for longer each time he looks.
    This one looks twice in a millisecond, so it is next.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._busy_timeout_ms = 0
        self._connection: sa.Connection | None = None
        self._used_at = 0.0

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """As :func:`transaction`. Raises StorageError."""
        with _mapped(self._engine):
            connection = self._fresh()
            try:
                with connection.begin():
                    if self._is_sqlite:
                        self._take_lock(connection)
                    yield connection
            except BaseException:
                self.close()
                raise
            self._used_at = time.monotonic()

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._is_sqlite and not connection.invalidated:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
            connection.close()

    def _fresh(self) -> sa.Connection:
        if time.monotonic() - self._used_at > PAUSE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
            if self._is_sqlite:  # it waits here instead, as long as the connection would have
                asked = self._connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                self._busy_timeout_ms = int(asked)
                self._connection.exec_driver_sql("PRAGMA busy_timeout=0")
                self._connection.rollback()
        return self._connection

    def _take_lock(self, connection: sa.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_ms / 1000
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sa.exc.OperationalError as error:
                code = getattr(error.orig, "sqlite_errorcode", 0)
                if code & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_SECONDS)


@contextmanager
def _mapped(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]  # the lines after it are the statement
        raise StorageError(f"database {engine.url.render_as_string()}: {reason}") from error


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read with.

    Raises:
        StorageError: the database could not be reached.
    """
    with transaction(engine) as connection:
        yield connection


def now() -> float:
    """Seconds since 1970 UTC, as every ``*_at`` column holds them."""
    return time.time()


def insert_ignore(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert unless the primary key (or a unique constraint) is taken; True when a row was written."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        pg_statement = pg_insert(table).values(**values).on_conflict_do_nothing()
        # Without the option SQLAlchemy says -1 of an INSERT on PostgreSQL.
        return connection.execute(pg_statement, execution_options={"preserve_rowcount": True}).rowcount == 1
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return connection.execute(sqlite_insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1


def server_now(connection: sa.Connection) -> float:
    """Seconds since 1970 by the database's clock, the one clock that processes on several machines share."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return now()
