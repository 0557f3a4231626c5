"""Delivery of reports: per instance and destination ``queued``, ``sent``, ``stored``, ``committed``.

A report is delivered when it is committed where the destination was asked for commitment, else
stored. Jobs ``send``, ``commit`` and ``commit-check`` carry the arguments of one
:class:`Attempt`; each has a work part that talks and a commit part that records. So have
``relay-ask`` and ``relay-report``, which pass on what senders ask to have committed (:class:`Relay`).
"""

from node.delivery import requests
from node.delivery.asking import ask, record_ask, record_ask_failure
from node.delivery.attempt import COMMIT, COMMIT_CHECK, SEND, Attempt, Office
from node.delivery.commitment import check, record_commitment, record_request, record_request_failure, request
from node.delivery.letters import Selection, discard, list_deliveries, of_study, requeue, retry, supersede
from node.delivery.relay import ASK, REPORT, Relay, callbacks
from node.delivery.reporting import record_report, record_report_failure, report
from node.delivery.rules import gate, may_have_demo, weakest
from node.delivery.sending import queue, record, record_failure, send

__all__ = [
    "ASK",
    "COMMIT",
    "COMMIT_CHECK",
    "REPORT",
    "SEND",
    "Attempt",
    "Office",
    "Relay",
    "Selection",
    "ask",
    "callbacks",
    "check",
    "discard",
    "gate",
    "list_deliveries",
    "may_have_demo",
    "of_study",
    "queue",
    "record",
    "record_ask",
    "record_ask_failure",
    "record_commitment",
    "record_failure",
    "record_report",
    "record_report_failure",
    "record_request",
    "record_request_failure",
    "report",
    "request",
    "requests",
    "requeue",
    "retry",
    "send",
    "supersede",
    "weakest",
]
