"""Scores and vectors of images: made by a triage model, kept in the database, and used again at completion."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.database import embedding, insert_ignore, now, reading, score
from node.domain import JSON, ImageScore, ModelImage, Priority, ReceivedInstance, Transform
from node.errors import ModelOutputError
from node.interfaces import TriageModel
from node.stages import selection
from node.stages.desk import Desk
from node.stages.pictures import Key
from node.stages.scale import Scale

AT_ONCE = 16
"""Images in memory at the same time."""
BYTES_PER_NUMBER = 2


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a model said about the images of a study. The vectors of those it had seen before are not read again."""

    images: Mapping[Key, ImageScore]
    #: What is to be kept of the images that were scored now, as JSON by key.
    vectors: JSON

    def scores(self) -> JSON:
        """Scores by key and finding."""
        return {str(key): dict(one.scores) for key, one in self.images.items()}


def of_images(
    desk: Desk, model: TriageModel, instances: Sequence[ReceivedInstance],
    transforms: Mapping[Key, Sequence[Transform]], priority: Priority, scale: Scale,
) -> Scored:
    """Scores of images that were selected of ``instances`` at ``scale``: those kept for the same pixels, and new
    ones of the others.

    Raises:
        ModelOutputError: a score is no number in 0..1.
        StorageError: an image or the database cannot be read.
    """
    digests = {key: digest(steps) for key, steps in transforms.items()}
    images = _known(desk.engine, model, digests)
    vectors: JSON = {}
    missing = sorted(set(digests) - set(images))
    for part in (missing[start : start + AT_ONCE] for start in range(0, len(missing), AT_ONCE)):
        shown = [selection.image(desk.data_dir, instances, key, desk.limits, scale) for key in part]
        for key, one in zip(part, _scored(model, instances, part, shown, priority), strict=True):
            images[key] = one
            vectors[str(key)] = {
                "embedding": base64.b64encode(one.embedding).decode(), "gate": dict(one.gate),
                "transforms_sha256": digests[key]}
    return Scored(images=dict(sorted(images.items())), vectors=vectors)


def _scored(
    model: TriageModel, instances: Sequence[ReceivedInstance], part: Sequence[Key], shown: Sequence[ModelImage],
    priority: Priority,
) -> Iterator[ImageScore]:
    first = next(one for one in instances if one.id == part[0].instance_id)
    for key, one in zip(part, model.scored(
            shown, priority, acquired_at=first.received_at.timestamp(), sender=first.calling_ae_title), strict=True):
        wrong = [finding for finding, value in one.scores.items() if not (math.isfinite(value) and 0 <= value <= 1)]
        if wrong:
            raise ModelOutputError(f"{model.identity.name}: the score of {wrong[0]} of instance {key.instance_id} "
                                   f"frame {key.frame} tile {key.tile} is no number in 0..1")
        yield one


def digest(transforms: Sequence[Transform]) -> str:
    """Of everything that was done to the pixels, so that scores of other pixels are told apart."""
    told = json.dumps([[step.name, step.parameters] for step in transforms], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _known(engine: sa.Engine, model: TriageModel, digests: Mapping[Key, str]) -> dict[Key, ImageScore]:
    ids = sorted({key.instance_id for key in digests})
    columns = score.c.instance_id, score.c.frame, score.c.tile, score.c.scores, score.c.gate, score.c.transforms_sha256
    with reading(engine) as connection:
        rows = connection.execute(sa.select(*columns).where(score.c.instance_id.in_(ids), of_model(model))).all()
    keyed = ((Key(row.instance_id, row.frame, row.tile), row) for row in rows)
    return {key: ImageScore(scores=row.scores, embedding=b"", gate=row.gate)
            for key, row in keyed if digests.get(key) == row.transforms_sha256}


def of_model(model: TriageModel) -> sa.ColumnElement[bool]:
    """Scores by this model with its prompt set."""
    return sa.and_(score.c.model_sha256 == model.identity.sha256, score.c.prompt_set == model.prompt_set.name)


def keep(
    connection: sa.Connection, instances: Sequence[ReceivedInstance], model_sha256: str, prompt_set: str, result: JSON
) -> None:
    """Keep scores and vectors of the images that were scored now; those of other pixels make room for them.

    ``result`` is that of a stage: ``scores`` by key, and ``vectors`` of what is to be kept.
    """
    by_id = {one.id: one for one in instances}
    for name, told in result["vectors"].items():
        key = Key.of(name)
        this_image = {**key._asdict(), "model_sha256": model_sha256}
        named = {**this_image, "sop_instance_uid": by_id[key.instance_id].sop_instance_uid}
        _make_room(connection, score, {**named, "prompt_set": prompt_set}, told["transforms_sha256"])
        fresh = insert_ignore(
            connection, score, **named, prompt_set=prompt_set, scores=result["scores"][name], gate=told["gate"],
            study_instance_uid=by_id[key.instance_id].study_instance_uid,
            transforms_sha256=told["transforms_sha256"], scored_at=now())
        if fresh:
            _keep_vector(connection, this_image, by_id[key.instance_id], base64.b64decode(told["embedding"]))


def _make_room(connection: sa.Connection, table: sa.Table, key: JSON, digest_now: str) -> None:
    same = [table.c[name] == value for name, value in key.items()]
    connection.execute(sa.delete(table).where(*same, table.c.transforms_sha256 != digest_now))


def _keep_vector(connection: sa.Connection, key: JSON, found: ReceivedInstance, vector: bytes) -> None:
    connection.execute(sa.delete(embedding).where(*(embedding.c[name] == value for name, value in key.items())))
    insert_ignore(
        connection, embedding, **key, sop_instance_uid=found.sop_instance_uid,
        study_instance_uid=found.study_instance_uid, vector=vector, dimension=len(vector) // BYTES_PER_NUMBER,
        scored_at=now())
