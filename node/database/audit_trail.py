"""Tables of the audit trail: chains, their events, and the anchors over all chains."""

from __future__ import annotations

import sqlalchemy as sa

from node.database.columns import UID, Seconds, column, table

audit_chain = table(
    "audit_chain",
    sa.Column("chain", sa.String(64), primary_key=True),
    column("seq", sa.BigInteger, 0),
    column("head", sa.String(64), ""),
)

audit_event = table(
    "audit_event",
    sa.Column("chain", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    column("at", Seconds, index=True),
    column("action", sa.String(64), index=True),
    column("study_instance_uid", UID, "", index=True),
    column("sop_instance_uid", UID, ""),
    #: Canonical JSON text, so that a digest of it means the same on every database.
    column("detail", sa.Text, "{}"),
    column("previous", sa.String(64)),
    column("digest", sa.String(64)),
)

audit_anchor = table(
    "audit_anchor",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    column("at", Seconds),
    #: Canonical JSON text: every chain with its seq and head.
    column("heads", sa.Text),
    column("previous", sa.String(64)),
    column("digest", sa.String(64)),
)
