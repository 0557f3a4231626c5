"""Delivery of reports: per instance and destination ``queued``, ``sent``, ``stored``, ``committed``.

A report is delivered when it is committed where the destination was asked for commitment, else
stored. Jobs ``send``, ``commit`` and ``commit-check`` carry the arguments of one
:class:`Attempt`; each has a work part that talks and a commit part that records.
"""

from node.delivery.attempt import COMMIT, COMMIT_CHECK, SEND, Attempt, Office
from node.delivery.commitment import check, record_commitment, record_request, record_request_failure, request
from node.delivery.letters import Selection, discard, list_deliveries, of_study, requeue, retry, supersede
from node.delivery.rules import gate, weakest
from node.delivery.sending import queue, record, record_failure, send

__all__ = [
    "COMMIT",
    "COMMIT_CHECK",
    "SEND",
    "Attempt",
    "Office",
    "Selection",
    "check",
    "discard",
    "gate",
    "list_deliveries",
    "of_study",
    "queue",
    "record",
    "record_commitment",
    "record_failure",
    "record_request",
    "record_request_failure",
    "request",
    "requeue",
    "retry",
    "send",
    "supersede",
    "weakest",
]
