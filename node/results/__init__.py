"""What the node's own results say of themselves, so that peers can ask for them (PS3.4 annex C).

:func:`book` notes the attributes of a report in table ``result``; :class:`Query` is what a peer asks, read from
the identifier of its request; :func:`find` and :func:`select` answer it for one :class:`Audience`.
"""

from node.results.answers import answer, is_supported
from node.results.finding import Entity, find, select
from node.results.index import Audience, Held, Index, book
from node.results.levels import Level, Root
from node.results.query import Negotiated, Query

__all__ = ["Audience", "Entity", "Held", "Index", "Level", "Negotiated", "Query", "Root", "answer", "book", "find",
           "is_supported", "select"]
