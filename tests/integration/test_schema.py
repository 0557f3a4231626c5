"""The migrated database is the one the program means, on both databases, whoever comes first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from node import audit, schema
from node.database import audit_anchor, audit_event, connect, metadata, node_state, score, transaction
from node.domain import AuditEvent
from node.errors import StorageError
from tests.tools.network import free_port

ROOT = Path(__file__).parents[2]


def without_jobs(_engine: sa.Engine) -> None:
    """The job tables are not what these tests are about."""


@pytest.fixture
def migrated(database_url: str, tmp_path: Path) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    schema.migrate(engine, tmp_path, without_jobs)
    yield engine
    engine.dispose()


def test_the_migrated_tables_are_those_of_the_program(migrated: sa.Engine) -> None:
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_stated_revision_is_the_newest_there_is() -> None:
    assert ScriptDirectory(str(ROOT / "node" / "migrations")).get_current_head() == schema.HEAD


def test_what_the_migration_makes_is_what_the_metadata_makes(migrated: sa.Engine, tmp_path: Path) -> None:
    """Also what a comparison by Alembic overlooks: keys, unique constraints, widths."""
    if migrated.dialect.name != "sqlite":
        pytest.skip("SQLite keeps the statements as text")
    made = connect(f"sqlite:///{tmp_path / 'made.sqlite'}")
    metadata.create_all(made)
    assert statements(migrated) == statements(made)


def statements(engine: sa.Engine) -> set[str]:
    query = sa.text("SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND name != 'alembic_version'")
    with engine.connect() as connection:
        found = [text for text in connection.scalars(query) if text and "alembic_version" not in text]
    return {" ".join(sorted(text.replace("(", " ( ").replace(")", " ) ").replace(",", " ").split())) for text in found}


@pytest.mark.parametrize("table", [audit_event, audit_anchor], ids=lambda table: table.name)
@pytest.mark.parametrize("change", [sa.delete, lambda table: sa.update(table).values(at=0)], ids=["delete", "update"])
def test_what_was_audited_cannot_be_changed_or_deleted(migrated: sa.Engine, table: sa.Table, change: object) -> None:
    with transaction(migrated) as connection:
        audit.append(connection, "chain", AuditEvent(action="kept"))
        audit.anchor(connection)
    assert callable(change)
    with pytest.raises(StorageError, match="append-only"), transaction(migrated) as connection:
        connection.execute(change(table))
    with migrated.connect() as connection:
        assert audit.verify(connection).problems == ()


def test_an_audit_table_cannot_be_emptied_at_once_either(postgres_url: str, tmp_path: Path) -> None:
    engine = connect(postgres_url)
    schema.migrate(engine, tmp_path, without_jobs)
    with pytest.raises(StorageError, match="append-only"), transaction(engine) as connection:
        connection.execute(sa.text("TRUNCATE audit_event"))
    engine.dispose()


def test_a_new_database_is_not_current_and_a_migrated_one_is(database_url: str, tmp_path: Path) -> None:
    engine = connect(database_url)
    assert not schema.is_current(engine)
    schema.migrate(engine, tmp_path, without_jobs)
    assert schema.is_current(engine)
    engine.dispose()


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    engine = connect(f"postgresql://node:s3cret@127.0.0.1:{free_port()}/node")
    for ask in (schema.is_current, schema.node_uid):
        with pytest.raises(StorageError, match=r"node:\*\*\*@127") as caught:
            ask(engine)
        assert "s3cret" not in str(caught.value)


def test_a_second_migration_changes_nothing(migrated: sa.Engine, tmp_path: Path) -> None:
    before = schema.node_uid(migrated)
    schema.migrate(migrated, tmp_path, without_jobs)
    assert schema.node_uid(migrated) == before


def test_scores_of_an_older_version_stay_and_are_made_again(database_url: str, tmp_path: Path) -> None:
    engine = connect(database_url)
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(ROOT / "node" / "migrations"))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0002")
        connection.execute(sa.text("INSERT INTO score VALUES ('1.2', 1, 'm', 'p', '1', '{\"effusion\": 0.5}', 7.0)"))
    schema.migrate(engine, tmp_path, without_jobs)
    with engine.connect() as connection:
        row = connection.execute(sa.select(score)).one()
    assert (row.sop_instance_uid, row.frame, row.scores, row.gate) == ("1.2", 1, {"effusion": 0.5}, {})
    assert (row.transforms_sha256, row.scored_at) == ("", 7.0)
    engine.dispose()


def test_the_node_has_a_uid_of_its_own_under_the_root_for_uuids(migrated: sa.Engine) -> None:
    root, number = schema.node_uid(migrated).rsplit(".", 1)
    assert (root, int(number) < 2**128) == ("2.25", True)


def test_a_migration_that_breaks_off_leaves_nothing_behind(database_url: str, tmp_path: Path) -> None:
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE role_status (other INTEGER)"))
    with pytest.raises(sa.exc.SQLAlchemyError):
        schema.migrate(engine, tmp_path, without_jobs)
    assert sa.inspect(engine).get_table_names() == ["role_status"]
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE role_status"))
    schema.migrate(engine, tmp_path, without_jobs)
    assert schema.is_current(engine)
    engine.dispose()


def test_a_migration_without_its_job_tables_is_taken_up_again(database_url: str, tmp_path: Path) -> None:
    def broken(_engine: sa.Engine) -> None:
        raise ConnectionError

    engine = connect(database_url)
    with pytest.raises(ConnectionError):
        schema.migrate(engine, tmp_path, broken)
    assert not schema.is_current(engine)
    schema.migrate(engine, tmp_path, without_jobs)
    assert schema.is_current(engine)
    engine.dispose()


def test_processes_that_start_together_migrate_once(database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node.migrate", str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(2)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(database_url)
        process.stdin.close()
        process.stdin = None
    told = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    engine = connect(database_url)
    assert schema.is_current(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(node_state)).scalar_one() == 2
    engine.dispose()
