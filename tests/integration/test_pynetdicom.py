"""What both engines lean on in pynetdicom and nobody promised: a version without it fails here first, by name."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pynetdicom
import pytest
from pynetdicom import AE, evt, sop_class
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, InvalidEventError
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler, ThreadedAssociationServer

from node.server.contexts import supported_contexts

#: Methods that are overridden or called, with the parameters that matters.
METHODS: dict[Any, dict[str, tuple[str, ...]]] = {
    Association: {
        "run_reactor": (), "_run_reactor": (), "_serve_request": ("msg", "context_id"), "abort": ("block",), "kill": (),
        "bind": ("event", "handler", "args"), "get_handlers": ("event",), "set_socket": ("socket",),
    },
    DULServiceProvider: {
        "start": (), "run_reactor": (), "receive_pdu": ("wait", "timeout"), "send_pdu": ("primitive",), "stop_dul": (),
        "_decode_pdu": ("bytestream",), "_process_recv_primitive": (), "_send": ("pdu",), "kill_dul": (),
        "peek_next_pdu": (), "idle_timer_expired": (),
    },
    DIMSEServiceProvider: {
        "get_msg": ("block",), "receive_primitive": ("primitive",), "send_msg": ("primitive", "context_id"),
    },
    AssociationSocket: {"send": ("bytestream",), "recv": ("nr_bytes",), "close": ()},
    RequestHandler: {"_create_association": ()},
    ThreadedAssociationServer: {"get_request": (), "server_bind": (), "finish_request": ("request", "client_address")},
    Timer: {"start": (), "stop": (), "restart": ()},
}

#: Attributes of instances.
ATTRIBUTES = {
    "association": (
        "_accepted_cx", "_dul_ready", "_is_paused", "_kill", "_reactor_checkpoint", "_sent_abort", "_server",
        "accepted_contexts", "acceptor", "acse", "dimse", "dul", "is_aborted", "is_established", "is_rejected",
        "is_released", "network_timeout", "requestor"),
    "association.dul": (
        "_idle_timer", "_kill_thread", "_recv_pdu", "artim_timer", "event_queue", "network_timeout", "socket",
        "state_machine", "to_provider_queue", "to_user_queue"),
    "association.dimse": ("assoc", "cancel_req", "dimse_timeout", "dul", "maximum_pdu_size", "message", "msg_queue"),
    "association.dul.socket": ("_is_connected", "socket"),
    "association.requestor": ("address_info", "primitive", "requested_contexts", "role_selection"),
    "association.acceptor": ("maximum_length", "supported_contexts"),
    "message": ("command_set", "context_id", "data_set"),
    "server": ("_handlers", "ae", "contexts"),
}


@contextmanager
def accepted() -> Iterator[tuple[AssociationServer, Association]]:
    """A server, and an acceptor's association as it makes one, not started."""
    entity = AE("AINODE")
    made: list[Association] = []

    class Maker(RequestHandler):  # type: ignore[misc]
        def handle(self) -> None:
            made.append(self._create_association())

    contexts = supported_contexts((), commits=False)
    server = entity.make_server(
        ("127.0.0.1", 0), contexts=contexts, request_handler=Maker, server_class=AssociationServer)
    with socket.create_connection(server.server_address, timeout=30):
        server.handle_request()
        association, = made
        yield server, association
        association.dul.socket.close()
    server.socket.close()


@pytest.fixture
def pieces() -> Iterator[dict[str, Any]]:
    with accepted() as (server, association):
        message = DIMSEMessage()
        message.context_id = 1
        yield {"server": server, "association": association, "message": message}


def test_the_version_is_one_that_was_looked_at() -> None:
    assert pynetdicom.__version__.startswith("3.0."), (
        f"pynetdicom {pynetdicom.__version__}: read what changed in the modules named in this file before allowing it")


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in METHODS.items() for name in names],
                         ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_method_is_there_with_its_parameters(owner: Any, name: str) -> None:
    method = getattr(owner, name, None)
    assert method is not None, f"pynetdicom {pynetdicom.__version__} has no {owner.__name__}.{name}"
    found = tuple(inspect.signature(method).parameters)[1:]
    wanted = METHODS[owner][name]
    assert found[:len(wanted)] == wanted, f"{owner.__name__}.{name} takes {found}, {wanted} is passed"


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes_are_there(pieces: dict[str, Any], path: str) -> None:
    first, *rest = path.split(".")
    owner = pieces[first]
    for name in rest:
        owner = getattr(owner, name)
    missing = [name for name in ATTRIBUTES[path] if name not in dir(owner)]
    assert missing == [], f"pynetdicom {pynetdicom.__version__}: {path} has no {missing}"


def test_an_association_is_made_but_not_started(pieces: dict[str, Any]) -> None:
    association = pieces["association"]
    assert not association.is_alive()
    assert not association.dul.is_alive()
    assert list(association.dul.event_queue.queue) == ["Evt5"], "a new connection is no longer announced as one event"
    assert association.dul.state_machine.current_state == "Sta1"


def test_the_association_runs_what_its_class_overrides() -> None:
    """``run_reactor`` starts the upper layer, waits for the request on it, negotiates, and calls ``_run_reactor``."""
    called: list[str] = []

    class Traced(Association):  # type: ignore[misc]
        def _run_reactor(self) -> None:
            called.append("_run_reactor")

    with accepted() as (_, association):
        association.__class__ = Traced
        association.dul.start = lambda: (called.append("start"), association._dul_ready.set())
        association.dul.receive_pdu = lambda wait, timeout: called.append(f"receive_pdu {wait}") or "a request"
        association.acse.negotiate_association = lambda: (
            called.append("negotiate"), setattr(association, "is_established", True))
        association.run_reactor()
    assert called == ["start", "receive_pdu True", "negotiate", "_run_reactor"]


CLOSED_IN = {f"Sta{number}" for number in range(2, 14)} - {"Sta4"}


@pytest.mark.parametrize("event", ["Evt17", "Evt19"])
def test_a_closed_connection_and_an_invalid_pdu_are_known_in_every_state(event: str) -> None:
    assert {state for known, state in TRANSITION_TABLE if known == event} >= CLOSED_IN


def test_an_event_out_of_place_is_named_by_its_own_error(pieces: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError):
        pieces["association"].dul.state_machine.do_action("Evt9")


def test_an_abort_of_the_provider_leaves_its_reason_to_whoever_sends_it(pieces: dict[str, Any]) -> None:
    sent: list[Any] = []
    upper_layer = pieces["association"].dul
    upper_layer._send = sent.append
    upper_layer.state_machine.current_state = "Sta6"
    upper_layer.state_machine.do_action("Evt19")
    abort, = sent
    assert isinstance(abort, A_ABORT_RQ)
    assert (abort.source, abort.reason_diagnostic) == (2, 0)
    assert upper_layer.state_machine.current_state == "Sta13"


def test_closing_tells_the_state_machine_and_who_watches(pieces: dict[str, Any]) -> None:
    association = pieces["association"]
    closed: list[str] = []
    association.bind(evt.EVT_CONN_CLOSE, lambda event: closed.append(event.assoc.name))
    association.dul.state_machine.current_state = "Sta6"
    association.dul.socket.close()
    assert association.dul.event_queue.queue.pop() == "Evt17"
    association.dul.state_machine.do_action("Evt17")
    assert association.dul.state_machine.current_state == "Sta1"
    assert closed == [association.name]
    assert association.acse.is_aborted()
    assert association.dimse.msg_queue.get_nowait() == (None, None)


def test_what_cannot_be_sent_counts_as_a_closed_connection(pieces: dict[str, Any]) -> None:
    wrapped = pieces["association"].dul.socket
    wrapped.socket.close()
    wrapped.send(b"anything")
    assert pieces["association"].dul.event_queue.queue.pop() == "Evt17"


def test_a_timer_looks_at_what_is_left(pieces: dict[str, Any]) -> None:
    class Elapsed(Timer):  # type: ignore[misc]
        remaining = -1.0

    timer = Elapsed(30)
    assert not timer.expired
    timer.start()
    assert timer._start_time is not None
    assert timer.expired


def test_contexts_that_need_no_copy_get_none(pieces: dict[str, Any]) -> None:
    contexts = pieces["server"].contexts
    assert deepcopy(contexts) is contexts
    assert pieces["association"].acceptor.supported_contexts[0] is contexts[0]


def test_the_tables_of_classes_are_there() -> None:
    assert sop_class._STORAGE_CLASSES["CTImageStorage"] == "1.2.840.10008.5.1.4.1.1.2"
