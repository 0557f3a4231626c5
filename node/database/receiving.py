"""Tables of what arrives: instances, their series, what is announced and what was rejected."""

from __future__ import annotations

import sqlalchemy as sa

from node.database.columns import UID, Seconds, column, table

instance = table(
    "instance",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    column("sop_class_uid", UID),
    column("sop_instance_uid", UID),
    column("study_instance_uid", UID),
    column("series_instance_uid", UID),
    column("transfer_syntax_uid", UID),
    column("modality", sa.Text, ""),
    column("path", sa.Text),
    column("size", sa.BigInteger),
    column("calling_ae_title", sa.String(16)),
    column("called_ae_title", sa.String(16)),
    column("source_host", sa.Text),
    column("received_at", Seconds),
    #: What the receiver could tell from Study Date and Move Originator: fresh ones are looked at first.
    column("lane", sa.String(16), "fresh", server_default="fresh"),
    column("state", sa.String(16), "received"),
    #: True for an image that may be analysed; SR, KO, PR, SEG and PDF never are.
    column("evidence", sa.Boolean, False),
    column("reason", sa.Text, ""),
)
sa.Index("instance_state", instance.c.state, instance.c.lane, instance.c.id)
sa.Index("instance_sop", instance.c.sop_instance_uid, instance.c.state)
sa.Index("instance_study", instance.c.study_instance_uid, instance.c.state)
#: Two clerks must not accept one SOP Instance twice.
sa.Index("instance_accepted", instance.c.sop_instance_uid, unique=True,
         sqlite_where=instance.c.state == "accepted", postgresql_where=instance.c.state == "accepted")

series = table(
    "series",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("series_instance_uid", UID, primary_key=True),
    column("modality", sa.Text, ""),
    column("instances", sa.Integer, 0),
    column("opened_at", Seconds),
    column("last_received_at", Seconds),
    #: How many instances it had when it was last put forward for early triage.
    column("early_instances", sa.Integer, 0, server_default="0"),
)
"""One row per series: how many instances came, and when the last did."""

arriving = table(
    "arriving",
    sa.Column("slot", sa.String(64), primary_key=True),
    sa.Column("association", sa.String(64), primary_key=True),
    column("study_instance_uid", UID, index=True),
    column("series_instance_uid", UID),
    column("beat_at", Seconds),
)
"""Instances that take long to arrive, by who receives them: their study is not quiet while the beat is young."""

announcement = table(
    "announcement",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("study_instance_uid", UID, primary_key=True),
    #: ``mpps`` (a Modality Performed Procedure Step) or ``ian`` (an Instance Availability Notification).
    column("kind", sa.String(8)),
    column("state", sa.String(16)),
    column("calling_ae_title", sa.String(16)),
    column("source_host", sa.Text),
    column("announced_at", Seconds),
    column("updated_at", Seconds),
)
sa.Index("announcement_study", announcement.c.study_instance_uid)

expected_instance = table(
    "expected_instance",
    sa.Column("announcement_uid", UID, primary_key=True),
    sa.Column("sop_instance_uid", UID, primary_key=True),
)
"""Instances that an announcement names, until a version was started on them."""

rejection = table(
    "rejection",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("study_instance_uid", UID, primary_key=True),
    column("note_uid", UID),
    column("rejected_at", Seconds),
)
"""Instances that a rejection note took out of use, whether they came before the note or come after it."""
