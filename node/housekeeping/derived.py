"""What was made of images that are not stored any more: their scores, vectors and heat maps."""

from __future__ import annotations

import sqlalchemy as sa

from node.database import embedding, heat_map, instance, score
from node.housekeeping import finished


def remove(connection: sa.Connection, study_instance_uid: str) -> None:
    """Of every instance of a study that has no file; those of instances that are kept stay.

    The results of the study say what was found in them. Call it in the transaction that changes their state.
    """
    stored = sa.select(instance.c.id).where(
        instance.c.study_instance_uid == study_instance_uid, instance.c.state.in_(finished.KEPT))
    for table in (score, embedding, heat_map):
        connection.execute(sa.delete(table).where(
            table.c.study_instance_uid == study_instance_uid, table.c.instance_id.not_in(stored)))
