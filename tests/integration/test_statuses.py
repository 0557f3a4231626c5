"""Which status a sender reads for which cause (PS3.4 table B.2-1, PS3.7 annex C); for what was lost never Success."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from handlers.statuses import CAUSES as CAUSES_OF_STATUSES
from handlers.statuses import Status
from node.intake import Intake
from tests.tools.disks import read_only, small_disk
from tests.tools.raw_sender import CT_CONTEXT, NO_DATA_SET, RawSender, command_set, pdvs, short, store_command, uid
from tests.tools.receiver import CHAIN, CT, EXPLICIT_LITTLE, Receiver, Sent, association, made, receiver, store
from tests.tools.waiting import wait_until

MR = "1.2.840.10008.5.1.4.1.1.4"
WHOLE_FILE = b"\0" * 128 + b"DICM" + made().data


def with_data(data: bytes) -> Sent:
    return Sent(CT, "1.2.3.4", EXPLICIT_LITTLE, data)


Answered = tuple[Sent, Mapping[str, bytes | None], Status]

CAUSES: dict[str, Answered] = {
    "stored": (made(), {}, Status.SUCCESS),
    "truncated in the pixels": (with_data(made(filling=0).data[:-5]), {}, Status.SUCCESS),
    "another class than the context's": (made(), {"e0002": uid(MR)}, Status.SOP_CLASS_NOT_SUPPORTED),
    "a data set of another class": (
        with_data(made(sop_class=MR).data), {}, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS),
    "no Study Instance UID": (made(study=""), {}, Status.CANNOT_UNDERSTAND),
    "no Series Instance UID": (made(series=""), {}, Status.CANNOT_UNDERSTAND),
    "no SOP Instance UID": (with_data(made("").data), {}, Status.CANNOT_UNDERSTAND),
    "a Study Instance UID of 65 letters": (made(study="1" * 65), {}, Status.CANNOT_UNDERSTAND),
    "a Study Instance UID of 64 KB": (made(study="1" * 65000), {}, Status.CANNOT_UNDERSTAND),
    "a path for a Series Instance UID": (made(series="../../../etc/cron.d/x"), {}, Status.CANNOT_UNDERSTAND),
    "a drive for a Study Instance UID": (made(study="C:\\Windows\\x"), {}, Status.CANNOT_UNDERSTAND),
    "two Study Instance UIDs": (made(study="1.2\\1.3"), {}, Status.CANNOT_UNDERSTAND),
    "a path in the command": (made(), {"e1000": b"../../x."}, Status.CANNOT_UNDERSTAND),
    "truncated before the UIDs": (with_data(made().data[:60]), {}, Status.CANNOT_UNDERSTAND),
    "one byte": (with_data(b"\x08"), {}, Status.CANNOT_UNDERSTAND),
    "nothing": (with_data(b""), {}, Status.CANNOT_UNDERSTAND),
    "zeros": (with_data(bytes(100_000)), {}, Status.CANNOT_UNDERSTAND),
    "text": (with_data(b"<html>no DICOM</html>" * 100), {}, Status.CANNOT_UNDERSTAND),
    "a whole file instead of its data set": (with_data(WHOLE_FILE), {}, Status.CANNOT_UNDERSTAND),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_its_status(shared_node: Receiver, tmp_path: Path, cause: str) -> None:
    sent, command, status = CAUSES[cause]
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(sent, **command).status == status
        assert sender.store(made("1.2.3.5")).status == Status.SUCCESS
    assert len(shared_node.rows()) == 1 + (status is Status.SUCCESS)
    kept = shared_node.files("quarantine")
    assert len(kept) == (status is Status.CANNOT_UNDERSTAND and "e1000" not in command)
    assert {folder.name for folder in shared_node.data_dir.iterdir()} <= {"incoming", "instances", "quarantine"}


def test_a_store_is_never_answered_with_a_warning() -> None:
    answered = [cause.status for cause in CAUSES_OF_STATUSES if cause.service == "C-STORE"]
    assert answered
    assert not [one for one in answered if one in (0x0001, 0x0107, 0x0116) or one >> 12 == 0xB]


def test_every_status_of_a_store_is_proved_here() -> None:
    proved = {status for _, _, status in CAUSES.values()} | {status for _, status in STEPS.values()}
    proved.add(Status.NOT_AUTHORISED)
    assert proved == {cause.status for cause in CAUSES_OF_STATUSES if cause.service == "C-STORE"}


def test_a_peer_that_may_only_report_may_not_store(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    settings = {"engine": engine_name, "allowed_peers": ()}
    with (
        receiver(sqlite, data_dir, receive=settings, destinations=(pacs,)) as node,
        RawSender(node.port, CT_CONTEXT, calling="PACS") as sender,
    ):
        assert sender.store(made()).status == Status.NOT_AUTHORISED
        assert (node.rows(), node.files(".")) == ([], [])


def test_every_status_of_a_store_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text(encoding="utf-8")
    assert all(f"| `0x{cause.status:04X}` |" in text for cause in CAUSES_OF_STATUSES if cause.service == "C-STORE")


class Faults:
    """Makes one thing fail, until it is told to stop."""

    def __init__(self, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._engine = engine
        self._patch = monkeypatch
        self._active = False

    def of_the_system(self, name: str, number: int) -> None:
        """``os.<name>`` fails with this errno."""
        whole = getattr(os, name)

        def failing(*arguments: Any, **more: Any) -> Any:
            if self._active:
                raise OSError(number, os.strerror(number))
            return whole(*arguments, **more)

        self._patch.setattr(os, name, failing)

    def of_statements(self, beginning: str) -> None:
        """A statement that begins so fails."""

        def failing(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if self._active and statement.startswith(beginning):
                raise sa.exc.OperationalError(statement, {}, Exception("disk I/O error"))

        sa.event.listen(self._engine, "before_cursor_execute", failing)

    def of_commits(self, *, late: bool) -> None:
        """A commit fails; ``late``, it does not but its answer is lost."""
        whole = self._engine.dialect.do_commit

        def failing(connection: Any) -> None:
            if late or not self._active:
                whole(connection)
            if self._active:
                raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

        self._patch.setattr(self._engine.dialect, "do_commit", failing)

    @contextmanager
    def happening(self) -> Iterator[None]:
        self._active = True
        yield
        self._active = False


FAILURE, NO_SPACE = Status.PROCESSING_FAILURE, Status.OUT_OF_RESOURCES
STEPS: dict[str, tuple[Callable[[Faults], None], Status]] = {
    "the disk cannot be asked": (lambda faults: faults.of_the_system("statvfs", errno.EIO), FAILURE),
    "no file can be opened": (lambda faults: faults.of_the_system("open", errno.EMFILE), FAILURE),
    "nothing can be written": (lambda faults: faults.of_the_system("write", errno.EIO), FAILURE),
    "no space for what is written": (lambda faults: faults.of_the_system("write", errno.ENOSPC), NO_SPACE),
    "the quota is used up": (lambda faults: faults.of_the_system("write", errno.EDQUOT), NO_SPACE),
    "nothing can be read back": (lambda faults: faults.of_the_system("pread", errno.EIO), FAILURE),
    "it cannot be cut to size": (lambda faults: faults.of_the_system("ftruncate", errno.EIO), FAILURE),
    "no name can be given": (lambda faults: faults.of_the_system("link", errno.EIO), FAILURE),
    "no space for a name": (lambda faults: faults.of_the_system("link", errno.ENOSPC), NO_SPACE),
    "the file cannot be synced": (lambda faults: faults.of_the_system("fdatasync", errno.EIO), FAILURE),
    "no space when it is synced": (lambda faults: faults.of_the_system("fdatasync", errno.ENOSPC), NO_SPACE),
    "the folder cannot be synced": (lambda faults: faults.of_the_system("fsync", errno.EIO), FAILURE),
    "the audit cannot be written": (lambda faults: faults.of_statements("UPDATE audit_chain"), FAILURE),
    "the event cannot be written": (lambda faults: faults.of_statements("INSERT INTO audit_event"), FAILURE),
    "the row cannot be written": (lambda faults: faults.of_statements("INSERT INTO instance"), FAILURE),
    "no statement is taken at all": (lambda faults: faults.of_statements(""), FAILURE),
    "the commit fails": (lambda faults: faults.of_commits(late=False), FAILURE),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_could_be_lost_is_no_success(
    sqlite: sa.Engine, data_dir: Path, engine_name: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fail, status = STEPS[step]
    faults = Faults(sqlite, monkeypatch)
    with receiver(sqlite, data_dir, receive={"engine": engine_name}) as node:
        with RawSender(node.port, CT_CONTEXT) as sender:
            assert sender.store(made("1.2.3.4")).status == Status.SUCCESS
            fail(faults)
            with faults.happening():
                assert sender.store(made("1.2.3.5", filling=1_500_000)).status == status
            assert sender.store(made("1.2.3.6")).status == Status.SUCCESS
        wait_until(lambda: not node.associations())
        assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.4", "1.2.3.6"]
        assert node.received() == [made("1.2.3.4").data, made("1.2.3.6").data]
    Intake(sqlite, data_dir, CHAIN, 0).sweep()
    assert [path for path in node.files(".") if "sqlite" not in path.name] == sorted(
        data_dir / row.path for row in node.rows())


def test_a_commit_whose_answer_is_lost_is_looked_up(
    sqlite: sa.Engine, data_dir: Path, engine_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(sqlite, monkeypatch)
    with (
        receiver(sqlite, data_dir, receive={"engine": engine_name}) as node,
        RawSender(node.port, CT_CONTEXT) as sender,
    ):
        assert sender.store(made("1.2.3.4")).status == Status.SUCCESS
        faults.of_commits(late=True)
        with faults.happening():
            status = sender.store(made("1.2.3.5")).status
        recorded = [row.sop_instance_uid for row in node.rows()]
        assert recorded == ["1.2.3.4", "1.2.3.5"]
        assert status in (Status.SUCCESS, Status.PROCESSING_FAILURE)  # a repeat does no harm, a loss would
        assert len(node.files("instances")) == 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=3) as folder:
        yield folder


def test_a_disk_that_fills_up_is_out_of_resources_until_there_is_space(
    sqlite: sa.Engine, disk: Path, engine_name: str
) -> None:
    with (
        receiver(sqlite, disk, receive={"engine": engine_name}) as node,
        RawSender(node.port, CT_CONTEXT) as sender,
    ):
        statuses = [sender.store(made(f"1.2.3.{number}", filling=900_000)).status for number in range(5)]
        assert statuses == [Status.SUCCESS] * 3 + [Status.OUT_OF_RESOURCES] * 2
        assert node.files("incoming") == []
        assert node.received() == [made(f"1.2.3.{number}", filling=900_000).data for number in range(3)]
        node.files("instances")[0].unlink()
        assert sender.store(made("1.2.3.9", filling=900_000)).status == Status.SUCCESS


def test_a_store_that_is_read_only_is_a_failure_until_it_is_not(
    sqlite: sa.Engine, disk: Path, engine_name: str
) -> None:
    with (
        receiver(sqlite, disk, receive={"engine": engine_name}) as node,
        RawSender(node.port, CT_CONTEXT) as sender,
    ):
        assert sender.store(made("1.2.3.4")).status == Status.SUCCESS
        with read_only(disk):
            assert sender.store(made("1.2.3.5")).status == Status.PROCESSING_FAILURE
            assert node.received() == [made("1.2.3.4").data]
        assert sender.store(made("1.2.3.6")).status == Status.SUCCESS
    assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.4", "1.2.3.6"]


@contextmanager
def locked(engine: sa.Engine) -> Iterator[None]:
    """Another writer holds the SQLite database."""
    with engine.connect() as other:
        other.execute(sa.text("BEGIN IMMEDIATE")).close()
        yield
        other.rollback()


@pytest.fixture
def hasty(sqlite: sa.Engine) -> sa.Engine:
    """Waits a moment for a lock, and not half a minute."""

    def wait_less(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA busy_timeout=200")

    sa.event.listen(sqlite, "connect", wait_less)
    sqlite.dispose()
    return sqlite


def test_a_database_that_stays_locked_is_a_failure_until_it_is_not(
    hasty: sa.Engine, data_dir: Path, engine_name: str
) -> None:
    with receiver(hasty, data_dir, receive={"engine": engine_name}) as node:
        with association(node.port, (CT, EXPLICIT_LITTLE)) as made_one:
            assert store(made_one, made("1.2.3.4")) == Status.SUCCESS
            with locked(hasty):
                assert store(made_one, made("1.2.3.5")) == Status.PROCESSING_FAILURE
                with RawSender(node.port, CT_CONTEXT) as another:  # whose beginning cannot be audited
                    assert another.store(made("1.2.3.6")).status == Status.PROCESSING_FAILURE
            assert store(made_one, made("1.2.3.7")) == Status.SUCCESS
        assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.4", "1.2.3.7"]
        assert len(node.files(".")) == 2


def test_a_database_that_is_locked_for_a_moment_is_waited_for(
    sqlite: sa.Engine, data_dir: Path, engine_name: str
) -> None:
    with receiver(sqlite, data_dir, receive={"engine": engine_name}) as node:
        with RawSender(node.port, CT_CONTEXT) as sender:
            assert sender.store(made("1.2.3.4")).status == Status.SUCCESS
            with locked(sqlite):
                sender.begin(made("1.2.3.5"))
                wait_until(lambda: len(node.files("instances")) == 2, what="a file whose row waits")
            answer = sender.answer()
            assert answer is not None
            assert answer.status == Status.SUCCESS
        assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.4", "1.2.3.5"]


def test_a_command_without_data_set_is_refused(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        sender.send_pdvs(pdvs(1, True, command_set(store_command(made(), e0800=short(NO_DATA_SET))), (500,)))
        answer = sender.answer()
        assert answer is not None
        assert answer.status == Status.CANNOT_UNDERSTAND
