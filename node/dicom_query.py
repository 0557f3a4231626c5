"""C-FIND in archives: how many instances a study has there."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pynetdicom import Association, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from node.config import Destination
from node.dicom_association import PENDING, SUCCESS, Caller, TimeOuts, peer_name, status_of, status_text
from node.errors import PeerError

MODEL = StudyRootQueryRetrieveInformationModelFind
PATIENCE = TimeOuts(connect=5.0, acse=10.0, dimse=20.0, network=30.0)
"""A study waits meanwhile: shorter than for what has to arrive."""

#: What pydicom raises for a value that is no number, or nothing at all.
UNREADABLE = (ValueError, TypeError, OverflowError, AttributeError, EOFError, RecursionError, NotImplementedError)


class DicomQuery:
    """Implements :class:`node.interfaces.Counter`. Any thread may use it."""

    def __init__(self, ae_title: str, time_outs: TimeOuts = PATIENCE) -> None:
        self._caller = Caller(ae_title, time_outs)

    def count_instances(self, archive: Destination, study_instance_uid: str) -> int | None:
        """Number of Study Related Instances, or the sum over its series; None when the archive knows neither.

        A study it does not know has none there. Both are optional keys (PS3.4 tables C.6-5 and C.6-6).

        Raises:
            PeerError: the archive is away, offers no query, or the query failed.
        """
        with self._caller.association(archive, [build_context(MODEL)]) as association:
            counts = list(_counts(association, archive, _of_study(study_instance_uid)))
            if None in counts:
                counts = list(_counts(association, archive, _of_series(study_instance_uid)))
        return None if None in counts else sum(count or 0 for count in counts)


def _of_study(study_instance_uid: str) -> tuple[Dataset, str]:
    keyword = "NumberOfStudyRelatedInstances"
    return _identifier("STUDY", study_instance_uid, keyword), keyword


def _of_series(study_instance_uid: str) -> tuple[Dataset, str]:
    keyword = "NumberOfSeriesRelatedInstances"
    return _identifier("SERIES", study_instance_uid, "SeriesInstanceUID", keyword), keyword


def _identifier(level: str, study_instance_uid: str, *wanted: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = level, study_instance_uid
    for keyword in wanted:
        setattr(identifier, keyword, "")
    return identifier


def _counts(association: Association, archive: Destination, asked: tuple[Dataset, str]) -> Iterator[int | None]:
    """The number in each match; None where there is none."""
    identifier, keyword = asked
    for reply, match in association.send_c_find(identifier, MODEL):
        status = status_of(reply)
        if status in PENDING and match is not None:
            yield number_in(match, keyword)
        elif status != SUCCESS:
            raise PeerError(f"{peer_name(archive)}: C-FIND was answered with {status_text(status)}")


def number_in(match: Dataset, keyword: str) -> int | None:
    """A count in an answer, not below 0; None where there is none that can be read."""
    try:
        return max(0, int(match[keyword].value))
    except (KeyError, *UNREADABLE):
        return None
