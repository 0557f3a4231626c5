"""Everything the first version needs. Written out, so that a later change of the schema cannot change the past."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

UID = SHORT = sa.String(64)
SECONDS = sa.Float(53)
APPEND_ONLY_TABLES = ("audit_event", "audit_anchor")


def upgrade() -> None:
    _instances()
    _studies()
    _reports()
    _audit()
    _roles()
    for table in APPEND_ONLY_TABLES:
        for statement in _append_only(op.get_bind().dialect.name, table):
            op.execute(statement)


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True)


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _maybe(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _instances() -> None:
    """What was received, and facts about the installation."""
    op.create_table(
        "node_state",
        _key("key", sa.String(128)), _column("value", sa.Text),
    )
    op.create_table(
        "instance",
        _key("id", sa.Integer), _column("sop_class_uid", UID), _column("sop_instance_uid", UID),
        _column("study_instance_uid", UID), _column("series_instance_uid", UID), _column("transfer_syntax_uid", UID),
        _column("modality", sa.Text), _column("path", sa.Text), _column("size", sa.BigInteger),
        _column("calling_ae_title", sa.String(16)), _column("called_ae_title", sa.String(16)),
        _column("source_host", sa.Text), _column("received_at", SECONDS), _column("state", sa.String(16)),
        _column("evidence", sa.Boolean), _column("reason", sa.Text),
    )
    op.create_index("instance_state", "instance", ["state", "id"])
    accepted = sa.text("state = 'accepted'")
    op.create_index("instance_accepted", "instance", ["sop_instance_uid"], unique=True, sqlite_where=accepted,
                    postgresql_where=accepted)
    op.create_table(
        "rejection",
        _key("sop_instance_uid", UID), _key("study_instance_uid", UID), _column("note_uid", UID),
        _column("rejected_at", SECONDS),
    )
    op.create_index("ix_instance_sop_instance_uid", "instance", ["sop_instance_uid"])
    op.create_index("ix_instance_study_instance_uid", "instance", ["study_instance_uid"])


def _studies() -> None:
    """Studies, their versions, the scores of their images, and the worklist."""
    op.create_table(
        "study",
        _key("study_instance_uid", UID), _column("patient_id", sa.Text), _column("accession_number", sa.Text),
        _column("modality", sa.Text), _column("study_date", sa.Text), _column("lane", sa.String(16)),
        _column("order_priority", sa.Integer), _column("version", sa.Integer), _column("versions_on", sa.String(10)),
        _column("versions_today", sa.Integer), _column("open", sa.Boolean), _column("opened_at", SECONDS),
        _column("last_received_at", SECONDS), _column("complete_requested", sa.Boolean),
        _column("replay_requested", sa.Boolean),
    )
    op.create_index("study_open", "study", ["open"])
    op.create_table(
        "run",
        _key("study_instance_uid", UID), _key("version", sa.Integer), _column("started_at", SECONDS),
        _column("trigger", sa.String(16)), _column("instance_ids", sa.JSON), _column("results", sa.JSON),
        _column("state", sa.String(16)), _column("reason", sa.Text),
    )
    op.create_table(
        "score",
        _key("sop_instance_uid", UID), _key("instance_id", sa.Integer), _key("model_sha256", SHORT),
        _key("prompt_set", SHORT), _column("study_instance_uid", UID), _column("scores", sa.JSON),
        _column("scored_at", SECONDS),
    )
    op.create_index("ix_score_study_instance_uid", "score", ["study_instance_uid"])
    op.create_table(
        "worklist_entry",
        _key("study_instance_uid", UID), _column("version", sa.Integer), _column("phase", sa.Integer),
        _column("state", sa.String(16)), _column("reason", sa.Text), _maybe("ai_priority", sa.Integer),
        _column("findings", sa.JSON), _column("findings_state", sa.String(16)),
        _column("report_state", sa.String(16)), _column("waiting_since", SECONDS), _maybe("decisive_at", SECONDS),
        _maybe("flagged_at", SECONDS), _maybe("notified_at", SECONDS), _column("demo_model", sa.Boolean),
        _column("updated_at", SECONDS), _column("dossier", sa.JSON),
    )
    op.create_index("worklist_entry_updated", "worklist_entry", ["updated_at"])


def _reports() -> None:
    """The outbox and its way to the destinations."""
    op.create_table(
        "report",
        _key("sop_instance_uid", UID), _column("study_instance_uid", UID), _column("version", sa.Integer),
        _column("kind", sa.String(32)), _column("sop_class_uid", UID), _column("series_instance_uid", UID),
        _column("path", sa.Text), _column("demo", sa.Boolean), _column("created_at", SECONDS),
        sa.UniqueConstraint("study_instance_uid", "version", "kind"),
    )
    op.create_index("ix_report_study_instance_uid", "report", ["study_instance_uid"])
    op.create_table(
        "delivery",
        _key("sop_instance_uid", UID), _key("destination", SHORT), _column("study_instance_uid", UID),
        _column("version", sa.Integer), _column("state", sa.String(16)), _column("attempts", sa.Integer),
        _column("round", sa.Integer), _maybe("status", sa.Integer), _column("reason", sa.Text),
        _column("transaction_uid", UID), _column("retry_requested", sa.Boolean), _column("updated_at", SECONDS),
    )
    op.create_index("delivery_retry", "delivery", ["retry_requested"])
    op.create_index("delivery_updated", "delivery", ["updated_at"])
    op.create_index("ix_delivery_study_instance_uid", "delivery", ["study_instance_uid"])
    op.create_table(
        "commitment",
        _key("transaction_uid", UID), _column("destination", SHORT), _column("study_instance_uid", UID),
        _column("version", sa.Integer), _column("requested_at", SECONDS), _maybe("answered_at", SECONDS),
    )


def _audit() -> None:
    """Chained events, and the anchors over all chains."""
    op.create_table(
        "audit_chain",
        _key("chain", SHORT), _column("seq", sa.BigInteger), _column("head", SHORT),
    )
    op.create_table(
        "audit_event",
        _key("chain", SHORT), _key("seq", sa.BigInteger), _column("at", SECONDS), _column("action", SHORT),
        _column("study_instance_uid", UID), _column("sop_instance_uid", UID), _column("detail", sa.Text),
        _column("previous", SHORT), _column("digest", SHORT),
    )
    op.create_index("ix_audit_event_action", "audit_event", ["action"])
    op.create_index("ix_audit_event_at", "audit_event", ["at"])
    op.create_index("ix_audit_event_study_instance_uid", "audit_event", ["study_instance_uid"])
    op.create_table(
        "audit_anchor",
        _key("id", sa.Integer), _column("at", SECONDS), _column("heads", sa.Text),
        _column("previous", SHORT), _column("digest", SHORT),
    )


def _roles() -> None:
    """Running processes."""
    op.create_table(
        "role_status",
        _key("slot", SHORT), _column("role", sa.String(16)), _column("incarnation", sa.String(32)),
        _column("pid", sa.Integer), _column("ready", sa.Boolean), _column("detail", sa.JSON),
        _column("beat_at", SECONDS),
    )


def _append_only(dialect: str, table: str) -> list[str]:
    if dialect == "postgresql":
        return [
            f"CREATE OR REPLACE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()",
        ]
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ]
