"""The ``fast`` engine: C-STORE straight from the socket to intake, everything else as pynetdicom does it.

pynetdicom serves an association with two threads that poll each other a thousand times a second, and
builds objects for every PDU and command. Here one thread per association runs the same state machine
inline and sleeps in ``poll`` (:mod:`~node.fast_store.upper_layer`), P-DATA is parsed where it was read
(:mod:`~node.fast_store.p_data`), C-STORE commands are read and answered as bytes
(:mod:`~node.fast_store.command`), and their data sets go on to intake without a copy
(:mod:`~node.fast_store.messages`). Negotiation, release, abort and every other service stay pynetdicom's.

Its private names that this leans on are held by ``tests/integration/test_pynetdicom.py``.
"""

from node.fast_store.association import FastAssociation
from node.fast_store.waiting import SteadyTimer

__all__ = ["FastAssociation", "SteadyTimer"]
