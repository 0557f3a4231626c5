"""The node as an application entity: what it offers, who may come in, where it listens.

The ``standard`` engine is pynetdicom with four hooks: sockets that do not stall a peer
(:mod:`node.server.transport`), presentation contexts that are built once
(:mod:`node.server.contexts`), C-STORE data sets streamed to intake (:mod:`handlers.c_store`), and C-GET and
C-MOVE served by ourselves (:mod:`handlers.sub_operations`).
The ``fast`` engine replaces the first and the third of them, on the plain port, by
:mod:`node.fast_store`. Both use names that pynetdicom calls private, so its version is pinned below 3.1.
"""

from node.server.serving import Server

__all__ = ["Server"]
