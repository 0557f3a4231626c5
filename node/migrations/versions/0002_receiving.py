"""Completion by evidence, storage commitment for senders, lanes as they arrive."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

UID = SHORT = sa.String(64)
AE_TITLE = sa.String(16)
SECONDS = sa.Float(53)


def upgrade() -> None:
    op.add_column("instance", sa.Column("lane", sa.String(16), nullable=False, server_default="fresh"))
    op.add_column("study", _maybe("source_missing", sa.Integer))
    op.add_column("study", _maybe("source_asked_at", SECONDS))
    _indices()
    _completion()
    _commitment()
    _results()


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True)


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _maybe(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _indices() -> None:
    """For what the clerk asks round after round, by lane."""
    op.drop_index("instance_state", "instance")
    op.create_index("instance_state", "instance", ["state", "lane", "id"])
    op.drop_index("ix_instance_sop_instance_uid", "instance")
    op.create_index("instance_sop", "instance", ["sop_instance_uid", "state"])
    op.drop_index("ix_instance_study_instance_uid", "instance")
    op.create_index("instance_study", "instance", ["study_instance_uid", "state"])
    op.drop_index("study_open", "study")
    op.create_index("study_open", "study", ["open", "lane", "last_received_at"])
    op.create_index("study_complete_requested", "study", ["complete_requested"])
    op.create_index("study_replay_requested", "study", ["replay_requested"])
    op.create_index("run_state", "run", ["state"])


def _completion() -> None:
    """Series, what is still on its way, and what was announced."""
    op.create_table(
        "series",
        _key("study_instance_uid", UID), _key("series_instance_uid", UID), _column("modality", sa.Text),
        _column("instances", sa.Integer), _column("opened_at", SECONDS), _column("last_received_at", SECONDS),
    )
    op.create_table(
        "arriving",
        _key("slot", SHORT), _key("association", SHORT), _column("study_instance_uid", UID),
        _column("series_instance_uid", UID), _column("beat_at", SECONDS),
    )
    op.create_index("ix_arriving_study_instance_uid", "arriving", ["study_instance_uid"])
    op.create_table(
        "announcement",
        _key("sop_instance_uid", UID), _key("study_instance_uid", UID), _column("kind", sa.String(8)),
        _column("state", sa.String(16)), _column("calling_ae_title", AE_TITLE), _column("source_host", sa.Text),
        _column("announced_at", SECONDS), _column("updated_at", SECONDS),
    )
    op.create_index("announcement_study", "announcement", ["study_instance_uid"])
    op.create_table(
        "expected_instance",
        _key("announcement_uid", UID), _key("sop_instance_uid", UID),
    )


def _commitment() -> None:
    """Storage commitment that senders asked for, and the node's own transactions that pass it on."""
    op.create_table(
        "commitment_request",
        _key("transaction_uid", UID), _key("calling_ae_title", AE_TITLE), _column("source_host", sa.Text),
        _column("instances", sa.JSON), _column("committed", sa.JSON), _column("failed", sa.JSON),
        _column("archive", SHORT), _column("association", SHORT), _column("state", sa.String(16)),
        _column("reason", sa.Text), _column("attempts", sa.Integer), _column("requested_at", SECONDS),
        _column("next_at", SECONDS),
    )
    op.create_index("commitment_request_due", "commitment_request", ["state", "next_at"])
    for name, kind in (("sender_transaction_uid", UID), ("sender_ae_title", AE_TITLE)):
        op.add_column("commitment", sa.Column(name, kind, nullable=False, server_default=""))


def _results() -> None:
    """What our own objects say of themselves, for queries."""
    op.create_table(
        "result",
        _key("sop_instance_uid", UID), _column("study_instance_uid", UID), _column("series_instance_uid", UID),
        _column("patient_id", sa.Text), _column("accession_number", sa.Text), _column("study_date", sa.Text),
        _column("attributes", sa.JSON),
    )
    for name in "study_instance_uid", "series_instance_uid", "patient_id", "accession_number", "study_date":
        op.create_index(f"ix_result_{name}", "result", [name])
