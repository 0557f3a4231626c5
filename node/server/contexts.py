"""Presentation contexts the node accepts (PS3.8 section 7.1.1.13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pynetdicom import register_uid
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import (
    _STORAGE_CLASSES,
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
    Verification,
    uid_to_service_class,
)

from handlers.query_retrieve import FIND, GET, MOVE
from node.config import Config

EXPLICIT_LITTLE, IMPLICIT_LITTLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
UNCOMPRESSED = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

_JPEG = "1.2.840.10008.1.2.4."
LOSSLESS = (
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE
    *(_JPEG + number for number in ("70", "57", "58", "65", "66")),  # JPEG lossless
    _JPEG + "80",  # JPEG-LS
    _JPEG + "90", _JPEG + "92",  # JPEG 2000
    _JPEG + "201", _JPEG + "202",  # High-Throughput JPEG 2000
    _JPEG + "110",  # JPEG XL
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame
)
NATIVE = (IMPLICIT_LITTLE, "1.2.840.10008.1.2.2")
"""Implicit VR Little Endian, then the retired Explicit VR Big Endian."""
LOSSY = (
    *(_JPEG + number for number in ("50", "51", "52", "53", "54", "55", "56")),  # JPEG
    *(_JPEG + number for number in ("59", "60", "61", "62", "63", "64")),  # JPEG, hierarchical
    _JPEG + "81",  # JPEG-LS near-lossless
    _JPEG + "91", _JPEG + "93",  # JPEG 2000
    _JPEG + "203",  # High-Throughput JPEG 2000
    _JPEG + "111", _JPEG + "112",  # JPEG XL
    *(_JPEG + number for number in ("100", "100.1", "101", "101.1")),  # MPEG-2
    *(_JPEG + f"{number}{kind}" for number in range(102, 107) for kind in ("", ".1")),  # MPEG-4 AVC/H.264
    _JPEG + "107", _JPEG + "108",  # HEVC/H.265
)
TRANSFER_SYNTAXES = (EXPLICIT_LITTLE, *LOSSLESS, *NATIVE, *LOSSY)
"""What an instance may be encoded in, best first: the acceptor's own order decides.

Left out are the JPIP syntaxes, whose pixels are somewhere else, and the streams of SMPTE ST 2110.
Retired JPEG processes are stored although nothing here decodes them.
"""

STORAGE_CLASSES = tuple(_STORAGE_CLASSES.values())
"""Those pynetdicom knows, before any is registered with it."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
RETIRED_STORAGE_CLASSES = (
    _STORAGE + "3",  # Ultrasound Multi-frame
    _STORAGE + "5",  # Nuclear Medicine
    _STORAGE + "6",  # Ultrasound
    *(_STORAGE + number for number in ("8", "9", "10", "11")),  # Standalone Overlay, Curve, Modality LUT, VOI LUT
    _STORAGE + "12.3",  # X-Ray Angiographic Bi-Plane
    "1.2.840.10008.5.1.1.29", "1.2.840.10008.5.1.1.30",  # Hardcopy Grayscale, Color
)
"""Still found in archives."""


class SharedContexts(list[Any]):
    """Presentation contexts that no association changes, and therefore none needs a copy of.

    pynetdicom copies what it supports for every association, which takes longer than receiving most instances.
    """

    def __deepcopy__(self, _memo: dict[int, Any]) -> SharedContexts:
        return self


ALWAYS = (Verification, ModalityPerformedProcedureStep, InstanceAvailabilityNotification)
"""Besides storage, whatever is configured."""
RESULT_CLASSES = (_STORAGE + "88.11", _STORAGE + "88.34")
"""Basic Text and Comprehensive 3D SR: what the node writes, and therefore may send in answer to a C-GET."""


def offered_contexts(config: Config) -> SharedContexts:
    """What the server offers with these settings."""
    receive = config.receive
    return supported_contexts(
        receive.private_sop_classes, commits=bool(receive.storage_commitment.archive),
        query_retrieve=receive.query_retrieve)


def service_of(sop_class_uid: str) -> str:
    """The name of the service class that a SOP class belongs to, as pynetdicom has it."""
    return str(uid_to_service_class(sop_class_uid).__name__)


def supported_contexts(
    private_sop_classes: Iterable[str], *, commits: bool = False, query_retrieve: bool = True
) -> SharedContexts:
    """Every storage class in every transfer syntax, :data:`ALWAYS`, and storage commitment in the role of its SCU.

    ``commits`` adds the role of its SCP; ``query_retrieve`` the models of queries, and the role in which C-GET is
    answered.
    """
    contexts = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in _storage_classes(private_sop_classes)]
    others = (*ALWAYS, *FIND, *GET, *MOVE) if query_retrieve else ALWAYS
    for context in contexts:
        if query_retrieve and context.abstract_syntax in RESULT_CLASSES:
            context.scu_role = context.scp_role = True  # who asks by C-GET selects the SCP role (PS3.4 C.5.3)
    contexts += [build_context(uid, list(UNCOMPRESSED)) for uid in others]
    return SharedContexts([*contexts, _commitment(UNCOMPRESSED, commits)])


def _storage_classes(private_sop_classes: Iterable[str]) -> list[str]:
    added = (*RETIRED_STORAGE_CLASSES, *private_sop_classes)
    for uid in added:
        if not issubclass(uid_to_service_class(uid), StorageServiceClass):
            register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)
    return sorted({*STORAGE_CLASSES, *added})


def _commitment(transfer_syntaxes: Sequence[str], commits: bool) -> PresentationContext:
    """An archive reports on an association of its own, on which it selects the SCP role (PS3.4 J.3.3)."""
    context = build_context(StorageCommitmentPushModel, list(transfer_syntaxes))
    context.scu_role, context.scp_role = commits, True
    return context
