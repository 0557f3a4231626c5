"""Which lane, which pipeline, which images, and why not: decisions over heads alone.

Rules are data at the top of each module; nothing is evaluated. A reason is a sentence for the radiologist.
"""

from node.routing.anatomy import view_of
from node.routing.annotation import may_identify
from node.routing.classes import IMAGE_FAMILIES, SECONDARY_CAPTURE, STORAGE, is_evidence, is_projection
from node.routing.dates import when
from node.routing.earlier import classes_of, kin, no_prior, other_patient, unaskable
from node.routing.eligibility import decline, remarks
from node.routing.lanes import lane, lane_by_date, order_priority
from node.routing.order_data import order_data
from node.routing.pipelines import pipeline_for

__all__ = [
    "IMAGE_FAMILIES", "SECONDARY_CAPTURE", "STORAGE", "classes_of", "decline", "is_evidence", "is_projection", "kin",
    "lane", "lane_by_date", "may_identify", "no_prior", "order_data", "order_priority", "other_patient",
    "pipeline_for", "remarks", "unaskable", "view_of", "when",
]
