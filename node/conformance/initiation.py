"""What the node does on associations that it opens itself: one activity per call of the client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.config import Config

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ANY = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
"""Proposed where only small data sets travel."""
UNCOMPRESSED = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

VERIFICATION = "1.2.840.10008.1.1"
REPORTS = ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.88.34")
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"


@dataclass(frozen=True, kw_only=True)
class Activity:
    """A real-world activity that opens an association. ``call`` is the client's method that does it."""

    call: str
    name: str
    service: str
    section: str
    sop_classes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    conformance: tuple[str, ...]
    role: str = "SCU"
    #: Whether these settings make it happen.
    happens: Callable[[Config], bool] = lambda config: bool(config.destinations)


ACTIVITIES: tuple[Activity, ...] = (
    Activity(
        call="echo", name="an operator tests the destinations", service="C-ECHO", section="PS3.4 Annex A",
        sop_classes=(VERIFICATION,), transfer_syntaxes=ANY, conformance=(
            "`ainode check` expects 0x0000 of every destination. `ainode check --store` also proposes what is listed "
            "below and releases the association without sending anything.",)),
    Activity(
        call="store", name="results are delivered", service="C-STORE", section="PS3.4 Annex B", sop_classes=REPORTS,
        transfer_syntaxes=UNCOMPRESSED, conformance=(
            "One association for the objects of one study version; objects are never changed between attempts.",
            "0x0000, the warnings 0xBxxx and 0x0111 Duplicate SOP Instance are taken as stored. 0x0117, 0x0118, "
            "0x0119, 0x0122, 0x0124, 0xA9xx and 0xCxxx end the delivery as a dead letter. Any other status, and no "
            "answer, are tried again by `delivery.retry_seconds`.",
            "`ainode send` stores any Part 10 file the same way, a compressed one in its own transfer syntax.")),
    Activity(
        call="store_each", name="results are moved", service="C-STORE", section="PS3.4 Annex B", sop_classes=REPORTS,
        transfer_syntaxes=UNCOMPRESSED, happens=lambda config: config.receive.query_retrieve, conformance=(
            "Sub-operations of a C-MOVE, with Move Originator AE Title and Message ID. What came of them is told in "
            "the responses to the C-MOVE; nothing is tried again.",)),
    Activity(
        call="find_instances", name="an answer to C-STORE was lost", service="C-FIND", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_FIND,), transfer_syntaxes=ANY, conformance=(
            "Asks at IMAGE level with Study and Series Instance UID for the SOP Instance UIDs whose answer did not "
            "come. What is found counts as stored; what is not is sent again. Pending is 0xFF00 and 0xFF01, any other "
            "status than these and 0x0000 is no answer.",)),
    Activity(
        call="count_instances", name="a study fell quiet", service="C-FIND", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_FIND,), transfer_syntaxes=ANY,
        happens=lambda config: bool(config.study.source.ae_title), conformance=(
            "The archive of `study.source` is asked at STUDY level for Number of Study Related Instances (0020,1208), "
            "and where it does not return that, at SERIES level for Number of Series Related Instances (0020,1209). "
            "While it has more than the node, the study is not complete. No answer is no reason to wait.",)),
    Activity(
        call="find_studies", name="earlier studies are asked for", service="C-FIND", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_FIND,), transfer_syntaxes=ANY, happens=lambda config: bool(config.priors), conformance=(
            "A source in `priors` is asked at STUDY level by Patient ID and Study Date for Issuer of Patient ID, "
            "Patient's Birth Date and Sex, Study Time and Study Description. A Patient ID with a wildcard is not "
            "asked for. More than 500 matches are an error.",)),
    Activity(
        call="find_series", name="their series are asked for", service="C-FIND", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_FIND,), transfer_syntaxes=ANY, happens=lambda config: bool(config.priors), conformance=(
            "At SERIES level by Study Instance UID for Modality, Body Part Examined, Series Description, Laterality "
            "and Number of Series Related Instances.",)),
    Activity(
        call="move", name="earlier studies are moved", service="C-MOVE", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_MOVE,), transfer_syntaxes=ANY,
        happens=lambda config: any(one.retrieve == "move" for one in config.priors), conformance=(
            "One request per series, to the node's own AE title. Past `time_limit_seconds` the association is aborted.",
        )),
    Activity(
        call="get", name="earlier studies are got", service="C-GET", section="PS3.4 Annex C",
        sop_classes=(STUDY_ROOT_GET,), transfer_syntaxes=ANY,
        happens=lambda config: any(one.retrieve == "get" for one in config.priors), conformance=(
            "One request per series. The image storage classes of the modality are proposed in the SCP role, "
            "uncompressed and in each of ten compressed transfer syntaxes. Past `time_limit_seconds` the association "
            "is aborted.",)),
    Activity(
        call="request_commitment", name="results are to be committed", service="N-ACTION", section="PS3.4 Annex J",
        sop_classes=(STORAGE_COMMITMENT,), transfer_syntaxes=ANY,
        happens=lambda config: any(one.storage_commitment for one in config.destinations)
        or bool(config.receive.storage_commitment.archive),
        conformance=(
            "Action Type 1 for what was stored at a destination with `storage_commitment: true`, and for what a sender "
            "asked the node to commit. The association stays open for a second; a later report comes on a new one that "
            "the destination opens, so it must know the node's AE title, address and port.",
            "Without a report within `delivery.commitment_timeout_seconds` it is asked again under a new Transaction "
            "UID. What failed with 0x0112 is stored again.")),
    Activity(
        call="report_commitment", name="a sender is told what was committed", service="N-EVENT-REPORT",
        section="PS3.4 Annex J", sop_classes=(STORAGE_COMMITMENT,), transfer_syntaxes=ANY, role="SCP",
        happens=lambda config: bool(config.receive.storage_commitment.archive), conformance=(
            "Event Type 1 or 2 to the sender's address in `peers`, proposing the SCP role, where the association that "
            "asked is not open any more. Any other status than 0x0000 is tried again by `delivery.retry_seconds`.",)),
)
"""``refused_classes`` of the client proposes what the others do, and is not listed."""
