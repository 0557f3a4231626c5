"""Which of the configured pipelines takes a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from node.config import PipelineSection
from node.domain import ImageHead
from node.routing.anatomy import shows
from node.routing.classes import is_evidence, modality_of


def pipeline_for(
    heads: Sequence[ImageHead], calling_ae_titles: Sequence[str], pipelines: Sequence[PipelineSection]
) -> PipelineSection | None:
    """The first pipeline that takes any of these images from any of these senders."""
    images = [head for head in heads if is_evidence(head)]
    return next((each for each in pipelines if _takes(each, images, calling_ae_titles)), None)


def _takes(pipeline: PipelineSection, images: Iterable[ImageHead], calling_ae_titles: Sequence[str]) -> bool:
    match = pipeline.match
    senders = {title.strip() for title in calling_ae_titles}
    if match.calling_ae_titles and senders.isdisjoint(match.calling_ae_titles):
        return False
    return any(
        (not match.modalities or modality_of(head) in match.modalities) and shows(head, match.body_parts)
        for head in images
    )
