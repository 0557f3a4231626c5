"""The conformance statement says what a real receiver accepts, what the client proposes, and what reports hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynetdicom.sop_class
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pynetdicom import AE, build_context, evt

from node import routing
from node.config import Config, Destination, PriorSource
from node.conformance import statement
from node.conformance.acceptance import SERVICES, Offer, offers
from node.conformance.initiation import ACTIVITIES, Activity
from node.conformance.objects import MODULES
from node.dicom_archive import DicomArchive
from node.dicom_association import TimeOuts
from node.dicom_client import DicomClient
from node.dicom_query import DicomQuery
from node.domain import CommitmentVerdict, ImageHead, ReportKind, ReportObject
from node.errors import PeerError
from sr_writer import measurement_report, text_report
from tests.tools import sr_samples
from tests.tools.receiver import Receiver, receiver

DEFAULT = Config()
OFFERS = offers(DEFAULT)
BUILDERS = {"measurement_report": measurement_report.build, "text_report": text_report.build}


@pytest.fixture
def started(sqlite: sa.Engine, data_dir: Path) -> Iterator[Receiver]:
    """A receiver with the default configuration."""
    with receiver(sqlite, data_dir) as made:
        yield made


def accepted(port: int, proposals: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """The transfer syntax accepted for each proposed context, '' where the context was not."""
    results = []
    for begin in range(0, len(proposals), 128):
        contexts = [build_context(uid, list(syntaxes)) for uid, syntaxes in proposals[begin:begin + 128]]
        roles = [pynetdicom.build_role(uid, scu_role=True, scp_role=True) for uid in {
            context.abstract_syntax for context in contexts if _is_scu_only(str(context.abstract_syntax))}]
        association = AE("MODALITY").associate("127.0.0.1", port, contexts=contexts, ext_neg=roles)
        found = {context.context_id: str(context.transfer_syntax[0]) for context in association.accepted_contexts}
        results += [found.get(2 * number + 1, "") for number in range(len(contexts))]
        association.abort()
    return results


def _is_scu_only(uid: str) -> bool:
    return any(one.uid == uid and not one.scp for offer in OFFERS for one in offer.classes)


def test_every_documented_class_is_accepted_in_the_preferred_syntax(started: Receiver) -> None:
    proposals = [(one.uid, (offer.transfer_syntaxes[-1], offer.transfer_syntaxes[0]))
                 for offer in OFFERS for one in offer.classes]
    wanted = [offer.transfer_syntaxes[0] for offer in OFFERS for _ in offer.classes]
    assert accepted(started.port, proposals) == wanted


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.service.name)
def test_every_documented_syntax_is_accepted(started: Receiver, offer: Offer) -> None:
    proposals = [(offer.classes[0].uid, [syntax]) for syntax in offer.transfer_syntaxes]
    assert accepted(started.port, proposals) == list(offer.transfer_syntaxes)


def test_no_other_class_of_the_standard_is_accepted(started: Receiver) -> None:
    documented = {one.uid for offer in OFFERS for one in offer.classes}
    known = {str(uid) for name, uids in vars(pynetdicom.sop_class).items() if name.endswith("_CLASSES")
             if isinstance(uids, dict) for uid in uids.values() if str(uid).startswith("1.2.840.10008.")}
    others = sorted(known - documented)
    assert len(others) > 50
    assert set(accepted(started.port, [(uid, ["1.2.840.10008.1.2"]) for uid in others])) == {""}


def test_what_settings_turn_on_appears_in_the_statement() -> None:
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    receive = {"storage_commitment": {"archive": "pacs"}, "private_sop_classes": ["1.2.3.4"]}
    off, on = statement(DEFAULT), statement(Config(destinations=[archive], receive=receive))
    assert "| Storage Commitment | Storage Commitment Push Model SOP Class | yes | no |" in off
    assert "| Storage Commitment | Storage Commitment Push Model SOP Class | yes | yes |" in on
    assert ("| 1.2.3.4 | 1.2.3.4 | no | yes |" in off, "| 1.2.3.4 | 1.2.3.4 | no | yes |" in on) == (False, True)
    assert "| PACS | 127.0.0.1 | 104 | destination pacs |" in on


def test_no_path_of_this_machine_is_in_the_shipped_statement() -> None:
    assert str(Path.cwd()) not in statement(DEFAULT)


def reports(folder: Path) -> list[Path]:
    head = sr_samples.small_cr()
    result, paths = sr_samples.result_for(head), []
    for number, (name, build) in enumerate(BUILDERS.items(), 1):
        paths.append(folder / f"{name}.dcm")
        build(result, head, [head], sr_samples.identity_for(result, number)).save_as(
            paths[-1], enforce_file_format=True)
    return paths


EARLIER = ImageHead(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid="", study_instance_uid="1.2",
                    series_instance_uid="1.3", modality="CR", patient_id="P1", study_date="20260101")

ASKING = DicomArchive("AINODE", None)  # type: ignore[arg-type]  # nothing is sent to it here


def source(peer: Destination) -> PriorSource:
    return PriorSource(name="peer", ae_title=peer.ae_title, host=peer.host, port=peer.port)


Call = Callable[[DicomClient, Destination, Path], object]
CALLS: dict[str, Call] = {
    "echo": lambda client, peer, folder: client.echo(peer),
    "store": lambda client, peer, folder: client.store(peer, reports(folder)),
    "store_each": lambda client, peer, folder: list(client.store_each(peer, reports(folder), ("MOVER", 1))),
    "count_instances": lambda client, peer, folder: DicomQuery("AINODE").count_instances(peer, "1.2"),
    "find_studies": lambda client, peer, folder: ASKING.find_studies(source(peer), EARLIER, 10.0),
    "find_series": lambda client, peer, folder: ASKING.find_series(source(peer), EARLIER, 10.0),
    "move": lambda client, peer, folder: ASKING.move(source(peer), EARLIER, 10.0),
    "get": lambda client, peer, folder: ASKING.get(source(peer), EARLIER, 10.0),
    "find_instances": lambda client, peer, folder: client.find_instances(peer, "1.2", "1.3", ["1.4"]),
    "request_commitment": lambda client, peer, folder: client.request_commitment(peer, "1.9", [("1.2", "1.4")]),
    "report_commitment": lambda client, peer, folder: client.report_commitment(peer, CommitmentVerdict(
        transaction_uid="1.9", committed=(("1.2", "1.4"),), failed=())),
}


@pytest.mark.parametrize("activity", ACTIVITIES, ids=lambda activity: activity.call)
def test_the_client_proposes_what_is_documented(activity: Activity, tmp_path: Path) -> None:
    seen: list[tuple[set[tuple[str, tuple[str, ...]]], bool]] = []

    def note(event: Any) -> None:
        peer = event.assoc.requestor
        # A C-GET proposes storage besides, which depends on what is asked for.
        besides = {*routing.classes_of(EARLIER.modality)} if activity.call == "get" else set()
        roles = [role.scp_role for uid, role in peer.role_selection.items() if uid not in besides]
        seen.append(({(str(one.abstract_syntax), tuple(map(str, one.transfer_syntax)))
                      for one in peer.requested_contexts if one.abstract_syntax not in besides}, any(roles)))

    entity = AE("PEER")
    for uid in activity.sop_classes:
        entity.add_supported_context(uid, list(activity.transfer_syntaxes), scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)])
    peer = Destination(name="peer", ae_title="PEER", host="127.0.0.1", port=server.socket.getsockname()[1])
    with suppress(PeerError):  # what it answers does not matter here
        CALLS[activity.call](DicomClient("AINODE", TimeOuts(commitment=0.0)), peer, tmp_path)
    server.shutdown()
    assert seen == [({(uid, activity.transfer_syntaxes) for uid in activity.sop_classes}, activity.role == "SCP")]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_report_has_the_documented_attributes_and_no_other(name: str) -> None:
    head = sr_samples.small_cr()
    result = sr_samples.result_for(head)
    before = ReportObject(kind=ReportKind.TEXT, sop_class_uid="1.2", sop_instance_uid="1.3", series_instance_uid="1.4",
                          study_instance_uid=str(head.StudyInstanceUID), version=1, path="")
    identity = replace(sr_samples.identity_for(result), predecessor=before)
    written = {element.keyword for element in BUILDERS[name](result, head, [head], identity)}
    documented = {one.keyword: one.kind for module in MODULES for one in module.attributes}
    assert written <= set(documented)
    assert {keyword for keyword, kind in documented.items() if kind in ("1", "2")} <= written


def test_every_documented_activity_is_tested() -> None:
    assert {activity.call for activity in ACTIVITIES} == set(CALLS)
    assert len({service.key for service in SERVICES}) == len(SERVICES)


def test_reports_are_in_the_documented_syntax(tmp_path: Path) -> None:
    assert {dcmread(path).file_meta.TransferSyntaxUID for path in reports(tmp_path)} == {"1.2.840.10008.1.2.1"}
