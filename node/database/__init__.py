"""The one database, on a SQLite file or PostgreSQL: its tables, and transactions on them."""

from node.database.audit_trail import audit_anchor, audit_chain, audit_event
from node.database.columns import Seconds, metadata
from node.database.connection import connect, reading, transaction
from node.database.installation import node_state, role_status
from node.database.prepared import Prepared
from node.database.receiving import announcement, arriving, expected_instance, instance, rejection, series
from node.database.results import commitment, commitment_request, delivery, report, result
from node.database.statements import insert_ignore, now, server_now
from node.database.studies import embedding, heat_map, prior, run, score, study, worklist_entry
from node.database.writer import Writer

__all__ = [
    "Prepared", "Seconds", "Writer", "announcement", "arriving", "audit_anchor", "audit_chain", "audit_event",
    "commitment", "commitment_request", "connect", "delivery", "embedding", "expected_instance", "heat_map",
    "insert_ignore", "instance", "metadata", "node_state", "now", "prior", "reading", "rejection", "report", "result",
    "role_status", "run", "score", "series", "server_now", "study", "transaction", "worklist_entry",
]
