"""Earlier studies of a patient from an archive: C-FIND for what it has, C-MOVE or C-GET for what is wanted.

Nothing that an archive answers is believed further than it can be read; the node's own rules decide about it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import Association, build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node import routing
from node.config import PriorSource
from node.dicom_association import PENDING, SUCCESS, Caller, TimeOuts, peer_name, status_of, status_text
from node.dicom_query import UNREADABLE, number_in
from node.domain import ImageHead
from node.errors import NodeError, PeerError
from node.intake import Intake, StoreRequest

FIND, GET, MOVE = (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
                   StudyRootQueryRetrieveInformationModelMove)

MOST_MATCHES = 500
"""Studies of a patient, or series of a study. An archive that answers with more is not believed."""
LONGEST = 64
"""Characters of the attributes that are read (LO, UI)."""
USABLE_UID = re.compile(r"[0-9A-Za-z.]{1,64}")
UNREADABLE_SIGN = re.compile("[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")

STUDY_KEYS = {
    "StudyInstanceUID": "study_instance_uid", "PatientID": "patient_id", "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientBirthDate": "patient_birth_date", "PatientSex": "patient_sex", "StudyDate": "study_date",
    "StudyTime": "study_time", "StudyDescription": "study_description",
}
SERIES_KEYS = {
    "SeriesInstanceUID": "series_instance_uid", "Modality": "modality", "BodyPartExamined": "body_part_examined",
    "SeriesDescription": "series_description", "Laterality": "laterality",
}
"""What is asked for, and the field of an image's head that it stands for."""
COUNT = "NumberOfSeriesRelatedInstances"
NOTHING = ImageHead(
    sop_class_uid="", sop_instance_uid="", study_instance_uid="", series_instance_uid="", transfer_syntax_uid="")

_JPEG = "1.2.840.10008.1.2.4."
UNCOMPRESSED = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
COMPRESSED = ("1.2.840.10008.1.2.5", *(_JPEG + end for end in ("50", "51", "57", "70", "80", "81", "90", "91", "201")))
"""A context each: C-GET sends what the archive has as it has it."""
MOST_CONTEXTS = 120
CONNECT_SECONDS = 5.0
CANNOT_STORE = 0xA700


class DicomArchive:
    """Implements :class:`node.interfaces.Archive`. Any thread may use it."""

    def __init__(self, ae_title: str, intake: Intake) -> None:
        """``intake`` takes in what C-GET brings."""
        self._ae_title = ae_title
        self._intake = intake

    def find_studies(self, source: PriorSource, current: ImageHead, seconds: float) -> list[ImageHead]:
        """See ``interfaces.Archive``: C-FIND at STUDY level by Patient ID and Study Date (PS3.4 C.6.2.1.2)."""
        identifier = _identifier("STUDY", STUDY_KEYS)
        identifier.PatientID = current.patient_id.strip()
        identifier.StudyDate = f"-{current.study_date.replace('.', '').strip()}"
        if not identifier.PatientID.isascii():
            identifier.SpecificCharacterSet = "ISO_IR 192"
        found = [_head(match, STUDY_KEYS) for match in self._find(source, identifier, seconds)]
        return [head for head in found if USABLE_UID.fullmatch(head.study_instance_uid)]

    def find_series(self, source: PriorSource, study: ImageHead, seconds: float) -> list[tuple[ImageHead, int | None]]:
        """See ``interfaces.Archive``: C-FIND at SERIES level (PS3.4 C.6.2.1.3)."""
        identifier = _identifier("SERIES", (*SERIES_KEYS, COUNT))
        identifier.StudyInstanceUID = study.study_instance_uid
        found = [(_head(match, SERIES_KEYS, study), number_in(match, COUNT))
                 for match in self._find(source, identifier, seconds)]
        return [(head, count) for head, count in found if USABLE_UID.fullmatch(head.series_instance_uid)]

    def retrieve(self, source: PriorSource, series: ImageHead, seconds: float) -> int:
        """See ``interfaces.Archive``: as the source is configured."""
        by = self.get if source.retrieve == "get" else self.move
        return by(source, series, seconds)

    def move(self, source: PriorSource, series: ImageHead, seconds: float) -> int:
        """C-MOVE to the node's own AE title (PS3.4 C.4.2). Raises PeerError."""
        with self._association(source, [build_context(MOVE)], seconds) as (association, until):
            replies = association.send_c_move(_of_series(series), self._ae_title, MOVE)
            return _completed(source, replies, until, "C-MOVE")

    def get(self, source: PriorSource, series: ImageHead, seconds: float) -> int:
        """C-GET (PS3.4 C.4.3): what comes on the association goes to intake. Raises PeerError."""
        classes = routing.classes_of(series.modality)
        syntaxes = [UNCOMPRESSED, *([syntax] for syntax in COMPRESSED)]
        contexts = [build_context(uid, syntax) for syntax in syntaxes for uid in classes][:MOST_CONTEXTS]
        handlers = [(evt.EVT_C_STORE, self._store, [source])]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        with self._association(source, [build_context(GET), *contexts], seconds, handlers, roles) as (
                association, until):
            return _completed(source, association.send_c_get(_of_series(series), GET), until, "C-GET")

    def _store(self, event: Any, source: PriorSource) -> int:
        """A sub-operation of C-GET: kept like what a C-MOVE by the node itself brings."""
        command = event.request
        try:
            reception = self._intake.begin(StoreRequest(
                sop_class_uid=str(command.AffectedSOPClassUID), sop_instance_uid=str(command.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax), calling_ae_title=source.ae_title,
                called_ae_title=self._ae_title, source_host=source.host, association_id=event.assoc.name,
                may_store=True, move_originator_ae_title=self._ae_title))
            reception.write([event.encoded_dataset(include_meta=False)])
            reception.finish()
        except NodeError:
            return CANNOT_STORE
        return SUCCESS

    def _find(self, source: PriorSource, identifier: Dataset, seconds: float) -> list[Dataset]:
        with self._association(source, [build_context(FIND)], seconds) as (association, until):
            return list(_matches(association, source, association.send_c_find(identifier, FIND), until))

    @contextmanager
    def _association(
        self, source: PriorSource, contexts: list[Any], seconds: float, handlers: Any = (), roles: Any = (),
    ) -> Iterator[tuple[Association, float]]:
        """An association and until when (monotonic) it may last; aborted where what was asked did not end well."""
        if seconds <= 0:
            raise PeerError(f"{peer_name(source.archive)}: there is no time left to ask it")
        until, short = time.monotonic() + seconds, min(CONNECT_SECONDS, seconds)
        caller = Caller(self._ae_title, TimeOuts(connect=short, acse=short, dimse=seconds, network=seconds))
        with caller.association(source.archive, contexts, handlers, roles) as association:
            try:
                yield association, until
            except PeerError:
                association.abort()  # a release would wait for what still comes
                raise


def _matches(association: Association, source: PriorSource, replies: Any, until: float) -> Iterator[Dataset]:
    for number, (reply, match) in enumerate(replies):
        status = status_of(reply)
        if number > MOST_MATCHES:
            raise PeerError(f"{peer_name(source.archive)}: answered a C-FIND with more than {MOST_MATCHES} matches")
        if status in PENDING and match is not None:
            yield match
        elif status != SUCCESS:
            raise PeerError(f"{peer_name(source.archive)}: C-FIND was answered with {status_text(status)}")
        elif not association.is_established:
            raise PeerError(f"{peer_name(source.archive)}: the association ended")
        _require_time(source, until)


def _completed(source: PriorSource, replies: Any, until: float, name: str) -> int:
    """Sub-operations that were completed. Raises PeerError where none was."""
    completed = 0
    for reply, _ in replies:
        status = status_of(reply)
        completed = max(completed, int(reply.get("NumberOfCompletedSuboperations") or 0))
        if status in PENDING:
            _require_time(source, until)
        elif status != SUCCESS and not completed:
            raise PeerError(f"{peer_name(source.archive)}: {name} was answered with {status_text(status)}")
    return completed


def _require_time(source: PriorSource, until: float) -> None:
    if time.monotonic() > until:
        raise PeerError(f"{peer_name(source.archive)}: did not answer within priors.time_limit_seconds")


def _of_series(series: ImageHead) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = series.study_instance_uid, series.series_instance_uid
    return identifier


def _identifier(level: str, keys: Iterable[str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in keys:
        setattr(identifier, keyword, "")
    return identifier


def _head(match: Dataset, keys: Mapping[str, str], above: ImageHead = NOTHING) -> ImageHead:
    """``above`` with what the match says of itself."""
    told: dict[str, Any] = {field: _text(match, keyword) for keyword, field in keys.items()}
    return replace(above, **told)


def _text(match: Dataset, keyword: str) -> str:
    """A single short text; '' where there is none, several, or one that nobody may mistake for another."""
    try:
        value = match[keyword].value
    except (KeyError, *UNREADABLE):
        return ""
    text = value.strip(" \x00") if isinstance(value, str) else ""
    return "" if len(text) > LONGEST or UNREADABLE_SIGN.search(text) else text
