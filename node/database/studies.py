"""Tables of studies: their versions, the scores of their images and their entry on the worklist."""

from __future__ import annotations

import sqlalchemy as sa

from node.database.columns import UID, Seconds, column, table

study = table(
    "study",
    sa.Column("study_instance_uid", UID, primary_key=True),
    column("patient_id", sa.Text, ""),
    column("accession_number", sa.Text, ""),
    column("modality", sa.Text, ""),
    column("study_date", sa.Text, ""),
    column("lane", sa.String(16), "fresh"),
    column("order_priority", sa.Integer, 50),
    #: The last version that was started; 0 before the first.
    column("version", sa.Integer, 0),
    column("versions_on", sa.String(10), ""),
    column("versions_today", sa.Integer, 0),
    #: True while instances arrived that no version has seen.
    column("open", sa.Boolean, True),
    column("opened_at", Seconds),
    column("last_received_at", Seconds),
    #: An operator or a command asked to complete, or to run again, now.
    column("complete_requested", sa.Boolean, False),
    column("replay_requested", sa.Boolean, False),
    #: How many more instances the source archive has than the node, and when it was asked; null when it does not say.
    sa.Column("source_missing", sa.Integer, nullable=True),
    sa.Column("source_asked_at", Seconds, nullable=True),
)
sa.Index("study_open", study.c.open, study.c.lane, study.c.last_received_at)
sa.Index("study_complete_requested", study.c.complete_requested)
sa.Index("study_replay_requested", study.c.replay_requested)

run = table(
    "run",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    column("started_at", Seconds),
    column("trigger", sa.String(16)),
    #: Row ids of the instances this version is about.
    column("instance_ids", sa.JSON, list),
    #: What each stage left for the next ones, by stage name.
    column("results", sa.JSON, dict),
    column("state", sa.String(16), "running"),
    column("reason", sa.Text, ""),
)
sa.Index("run_state", run.c.state)

score = table(
    "score",
    sa.Column("sop_instance_uid", UID, primary_key=True),
    sa.Column("instance_id", sa.Integer, primary_key=True),
    sa.Column("model_sha256", sa.String(64), primary_key=True),
    sa.Column("prompt_set", sa.String(64), primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    #: Of a slide, 0 of all else.
    sa.Column("tile", sa.Integer, primary_key=True),
    column("study_instance_uid", UID, index=True),
    column("scores", sa.JSON, dict),
    #: Domain scores, where the prompt set has a gate.
    column("gate", sa.JSON, dict),
    #: Of what was done to the pixels: scores of other pixels are not used again.
    column("transforms_sha256", sa.String(64), ""),
    column("scored_at", Seconds),
)
"""Triage scores per image, which is a frame of an instance or a tile of a slide: made as it arrived and used again at
completion."""

embedding = table(
    "embedding",
    sa.Column("instance_id", sa.Integer, primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    sa.Column("tile", sa.Integer, primary_key=True),
    sa.Column("model_sha256", sa.String(64), primary_key=True),
    column("sop_instance_uid", UID, index=True),
    column("study_instance_uid", UID, index=True),
    #: ``dimension`` numbers, L2-normalised, float16, little endian.
    column("vector", sa.LargeBinary),
    column("dimension", sa.Integer),
    column("scored_at", Seconds),
)
"""The image vector that a score was made from."""

heat_map = table(
    "heat_map",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("finding", sa.Text, primary_key=True),
    #: The image that decided the finding's score.
    column("instance_id", sa.Integer),
    column("sop_instance_uid", UID),
    column("frame", sa.Integer),
    column("state", sa.String(16), index=True),
    column("reason", sa.Text, ""),
    #: Name, version and SHA-256 of what was explained.
    column("model", sa.JSON, dict),
    column("method", sa.String(16), ""),
    #: The map: a square grid, float32, little endian, row by row, in logits; empty where there is none.
    column("cells", sa.LargeBinary, b""),
    #: Logits that the score lost without the most relevant tenth, and more than which it had to lose.
    sa.Column("deletion_drop", sa.Float(53), nullable=True),
    sa.Column("needed_drop", sa.Float(53), nullable=True),
    #: State, reason, model and boxes [top, left, bottom, right] in pixels of the frame; null where nobody was asked.
    sa.Column("localisation", sa.JSON(none_as_null=True), nullable=True),
    column("updated_at", Seconds),
)
"""Where in its decisive image a finding's score comes from, or why that cannot be told; its pictures are files."""

prior = table(
    "prior",
    sa.Column("study_instance_uid", UID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    #: Name of the configured source.
    column("source", sa.String(64)),
    column("state", sa.String(16), "asked"),
    #: Why there is none.
    column("reason", sa.Text, ""),
    #: Earlier studies, the newest first: UID, when, and the row ids of their instances.
    column("found", sa.JSON, list),
    column("asked_at", Seconds),
    column("deadline_at", Seconds),
    #: The findings of the version wait, and at which priority they go on; null while nothing waits.
    sa.Column("held_priority", sa.Integer, nullable=True),
)
sa.Index("prior_state", prior.c.state)
"""Earlier studies of the patient that a version of a study asked for."""

worklist_entry = table(
    "worklist_entry",
    sa.Column("study_instance_uid", UID, primary_key=True),
    column("version", sa.Integer, 0),
    #: Order of the stages that wrote the entry; (version, phase) only moves forward.
    column("phase", sa.Integer, 0),
    column("state", sa.String(16), "receiving"),
    column("reason", sa.Text, ""),
    sa.Column("ai_priority", sa.Integer, nullable=True),
    column("findings", sa.JSON, list),
    column("findings_state", sa.String(16), "pending"),
    column("report_state", sa.String(16), "pending"),
    column("waiting_since", Seconds),
    sa.Column("decisive_at", Seconds, nullable=True),
    sa.Column("flagged_at", Seconds, nullable=True),
    sa.Column("notified_at", Seconds, nullable=True),
    column("demo_model", sa.Boolean, False),
    column("updated_at", Seconds),
    #: What the dossier shows besides: impression, remarks, guardrails, models.
    column("dossier", sa.JSON, dict),
)
sa.Index("worklist_entry_updated", worklist_entry.c.updated_at)
