"""Tables of what leaves the node: reports, what they say, their delivery and storage commitment."""

from __future__ import annotations

import sqlalchemy as sa

from node.database.columns import UID, Seconds, column, table

report = table(
    "report",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    column("study_instance_uid", UID, index=True),
    column("version", sa.Integer),
    column("kind", sa.String(32)),
    column("sop_class_uid", UID),
    column("series_instance_uid", UID),
    column("path", sa.Text),
    #: A demo model spoke: where this may go is asked again before every attempt.
    column("demo", sa.Boolean, False),
    column("created_at", Seconds),
    sa.UniqueConstraint("study_instance_uid", "version", "kind"),
)
"""The outbox: objects we wrote. An inbound instance with one of these UIDs is an echo."""

result = table(
    "result",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    column("study_instance_uid", UID, index=True),
    column("series_instance_uid", UID, index=True),
    column("patient_id", sa.Text, "", index=True),
    column("accession_number", sa.Text, "", index=True),
    #: YYYYMMDD, or empty.
    column("study_date", sa.Text, "", index=True),
    #: Texts by DICOM keyword, several values separated by backslashes.
    column("attributes", sa.JSON, dict),
)
"""What an object of ``report`` says of itself, so that a query (PS3.4 annex C) opens no file."""

delivery = table(
    "delivery",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    column("study_instance_uid", UID, index=True),
    column("version", sa.Integer),
    column("state", sa.String(16), "queued"),
    column("attempts", sa.Integer, 0),
    #: Counts the operator's retries, so that a new series of attempts has new job ids.
    column("round", sa.Integer, 1),
    sa.Column("status", sa.Integer, nullable=True),
    column("reason", sa.Text, ""),
    column("transaction_uid", UID, ""),
    column("retry_requested", sa.Boolean, False),
    column("updated_at", Seconds),
)
sa.Index("delivery_updated", delivery.c.updated_at)
sa.Index("delivery_retry", delivery.c.retry_requested)

commitment = table(
    "commitment",
    sa.Column("transaction_uid", UID, primary_key=True),
    column("destination", sa.String(64)),
    column("study_instance_uid", UID),
    column("version", sa.Integer),
    column("requested_at", Seconds),
    sa.Column("answered_at", Seconds, nullable=True),
    #: The sender's own transaction that this one passes on; empty for the node's own objects.
    column("sender_transaction_uid", UID, "", server_default=""),
    column("sender_ae_title", sa.String(16), "", server_default=""),
)
"""Storage commitment transactions, written before the N-ACTION leaves."""

commitment_request = table(
    "commitment_request",
    sa.Column("transaction_uid", UID, primary_key=True),
    sa.Column("calling_ae_title", sa.String(16), primary_key=True),
    column("source_host", sa.Text),
    #: Pairs of SOP Class and SOP Instance UID, as asked.
    column("instances", sa.JSON, list),
    #: SOP Instance UIDs that the archive committed.
    column("committed", sa.JSON, list),
    #: Triples of SOP Class UID, SOP Instance UID and Failure Reason.
    column("failed", sa.JSON, list),
    column("archive", sa.String(64)),
    #: The association it came on, while that is open.
    column("association", sa.String(64), ""),
    column("state", sa.String(16)),
    column("reason", sa.Text, ""),
    column("attempts", sa.Integer, 0),
    column("requested_at", Seconds),
    column("next_at", Seconds),
)
"""Storage commitment that senders asked for, until they have their answer."""
sa.Index("commitment_request_due", commitment_request.c.state, commitment_request.c.next_at)
