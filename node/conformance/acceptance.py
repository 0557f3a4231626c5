"""What the node does on associations that others open: services, their SOP classes, and why one is rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handlers.rejections import Reason
from handlers.statuses import CAUSES, Cause
from node.config import Config
from node.server.contexts import offered_contexts, service_of


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service class the node may provide, by pynetdicom's name of it; ``dimse`` are the requests it answers."""

    key: str
    name: str
    section: str
    activity: str
    dimse: tuple[str, ...]
    conformance: tuple[str, ...]
    #: The setting that turns it on.
    setting: str = ""


SERVICES: tuple[Service, ...] = (
    Service(
        key="VerificationServiceClass", name="Verification", section="PS3.4 Annex A",
        activity="a peer tests the connection", dimse=("C-ECHO",), conformance=("Standard conformance.",)),
    Service(
        key="StorageServiceClass", name="Storage", section="PS3.4 Annex B", activity="a peer stores instances",
        dimse=("C-STORE",), conformance=(
            "Level 2 (full): the data set is kept byte for byte as it came, all attributes, private ones included, "
            "in the transfer syntax it came in. Nothing is coerced, and the instance keeps the UIDs of its data set.",
            "Success is answered only when file, row and audit event are durable; pixels are not judged while "
            "receiving. There are no warning statuses.",
            "The same SOP Instance UID again is a Success. What it was taken for (a duplicate of the same pixels; a "
            "changed identity, order or side, which replaces the first; other pixels, which are kept apart; one of "
            "the node's own objects) is in the audit.",
            "Study, Series and SOP Instance UID may be 1 to 64 characters of `[0-9A-Za-z.]`; they are kept as they "
            "come. A data set without SOP Class UID is kept under the class of the command.",
            "What is analysed is narrower than what is stored: images as `pipelines` says (by default CR and DX of "
            "the chest) that the installed codecs decode. Everything else is on the worklist with the reason. No "
            "decoder is installed for 1.2.840.10008.1.2.4.53 and .55 (retired JPEG), .110 (JPEG XL) and "
            "1.2.840.10008.1.2.8.1 (Deflated Image Frame).",
            "The node is no archive. Files are kept by the settings of `retention`.")),
    Service(
        key="StorageCommitmentServiceClass", name="Storage Commitment", section="PS3.4 Annex J",
        activity="an archive reports what it committed, or a sender asks the node to commit",
        dimse=("N-EVENT-REPORT", "N-ACTION"), setting="receive.storage_commitment.archive", conformance=(
            "As SCU of the service the node accepts the N-EVENT-REPORT of a destination, on the association that "
            "asked or on a new one, on which the destination selects the SCP role (PS3.4 J.3.3).",
            "As SCP it is off unless `receive.storage_commitment.archive` names a destination; a caller that would "
            "be an SCU of the service then has its presentation context refused. Where it is on, a request is "
            "passed on: the sender is told success only after that archive has committed the same instances, on "
            "the same association while it is open, else on a new one to its address in `peers`.",
            "A sender's images are not held by the node on behalf of this service; the archive holds them.")),
    Service(
        key="QueryRetrieveServiceClass", name="Query/Retrieve", section="PS3.4 Annex C",
        activity="a peer queries or retrieves the node's results", dimse=("C-FIND", "C-GET", "C-MOVE"),
        setting="receive.query_retrieve", conformance=(
            "Only the node's own result objects are found and retrieved, never the instances it received; "
            "[query-retrieve.md](query-retrieve.md) has the keys.",
            "Move destinations are those in `peers` and `destinations`. For C-GET the requestor selects the SCP role "
            "of the storage classes of the results (PS3.4 C.5.3).")),
    Service(
        key="ProcedureStepServiceClass", name="Modality Performed Procedure Step", section="PS3.4 Annex F",
        activity="a modality says what it performs", dimse=("N-CREATE", "N-SET"), conformance=(
            "A step IN PROGRESS keeps its study open. A COMPLETED one names instances, and the study is complete when "
            "they have come. A DISCONTINUED one promises nothing. [completion.md](completion.md) has the rules.",
            "Read are Scheduled Step Attributes Sequence > Study Instance UID, Performed Procedure Step Status, and "
            "Performed Series Sequence > Referenced Image Sequence and Referenced Non-Image Composite SOP Instance "
            "Sequence. Other attributes are neither required nor kept. There is no N-GET and no notification.",)),
    Service(
        key="InstanceAvailabilityNotificationServiceClass", name="Instance Availability Notification",
        section="PS3.4 Annex R", activity="a peer says which instances are available", dimse=("N-CREATE",),
        conformance=(
            "The instances it names as ONLINE or NEARLINE are expected, and the study is complete when they have come. "
            "Read are Study Instance UID and Referenced Series Sequence > Referenced SOP Sequence > Referenced SOP "
            "Instance UID and Instance Availability.",)),
)

REJECTIONS: Mapping[Reason, str] = {
    Reason.CALLING_AE_TITLE_NOT_RECOGNISED:
        "No entry of `receive.allowed_peers`, `destinations` or `peers` fits the caller's AE title, address and "
        "certificate.",
    Reason.CALLED_AE_TITLE_NOT_RECOGNISED:
        "`receive.require_called_ae_title` is set, and another AE title than the node's is called.",
    Reason.LOCAL_LIMIT_EXCEEDED: "Too many associations, of this peer or in all.",
    Reason.TEMPORARY_CONGESTION:
        "Less than `receive.low_disk_mb` is free, and the caller proposes to store.",
    Reason.NO_REASON_GIVEN: "The node failed to decide; its log says why.",
}


@dataclass(frozen=True, kw_only=True)
class SOPClass:
    """One SOP class the node accepts, and which side it takes there."""

    uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, kw_only=True)
class Offer:
    """SOP classes of one service that share their transfer syntaxes, best first."""

    service: Service
    classes: tuple[SOPClass, ...]
    transfer_syntaxes: tuple[str, ...]


def offers(config: Config) -> list[Offer]:
    """What the server offers with these settings, in the order of :data:`SERVICES`."""
    found: dict[tuple[str, tuple[str, ...]], list[SOPClass]] = {}
    for context in offered_contexts(config):
        uid = str(context.abstract_syntax)
        shared = service_of(uid), tuple(map(str, context.transfer_syntax))
        # A requestor that may be the SCU leaves the node the SCP, and the other way round.
        found.setdefault(shared, []).append(
            SOPClass(uid=uid, scu=bool(context.scp_role), scp=context.scu_role is not False))
    return [
        Offer(service=service, classes=tuple(classes), transfer_syntaxes=syntaxes)
        for service in SERVICES for (key, syntaxes), classes in found.items() if key == service.key]


def causes(services: Sequence[str]) -> list[Cause]:
    """The rows of the table of statuses for these DIMSE services."""
    return [cause for cause in CAUSES if cause.service in services]
