"""A modality and an archive that announce what belongs to a study, as pynetdicom sends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import InstanceAvailabilityNotification, ModalityPerformedProcedureStep

from tests.tools.receiver import EXPLICIT_LITTLE, IMPLICIT_LITTLE, association

STEP, NOTE = "1.2.9.1", "1.2.9.2"
IMAGES, OTHERS = "ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"


def item(**values: Any) -> Dataset:
    """A data set of these attributes."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def begun(*studies: str, **changed: Any) -> Dataset:
    """Attributes of a new step; a value None leaves the attribute out."""
    values = {
        "ScheduledStepAttributesSequence": [item(StudyInstanceUID=uid) for uid in studies],
        "PerformedProcedureStepStatus": "IN PROGRESS", "PatientName": "SECRET^NAME", "PerformedSeriesSequence": [],
    }
    return item(**{name: value for name, value in (values | changed).items() if value is not None})


def ended(status: str, *uids: str, sequence: str = IMAGES) -> Dataset:
    """What an N-SET says at the end; instances are in one series."""
    series = item(SeriesInstanceUID="1.2.3.9", **{sequence: references(uids)})
    return item(PerformedProcedureStepStatus=status, PerformedSeriesSequence=[series])


def available(study: str, uids: Mapping[str, str]) -> Dataset:
    """A notification: availability by SOP Instance UID."""
    named = [item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1", ReferencedSOPInstanceUID=uid,
                  InstanceAvailability=value, RetrieveAETitle="PACS") for uid, value in uids.items()]
    series = item(SeriesInstanceUID="1.2.3.9", ReferencedSOPSequence=named)
    return item(StudyInstanceUID=study, ReferencedPerformedProcedureStepSequence=[], ReferencedSeriesSequence=[series])


def references(uids: Sequence[str]) -> list[Dataset]:
    return [item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.1", ReferencedSOPInstanceUID=uid) for uid in uids]


class Announcer:
    """An open association that announces."""

    def __init__(self, made: Association) -> None:
        self.association = made

    def create(self, attributes: Dataset | None, uid: str | None = STEP) -> Dataset:
        """N-CREATE of a step; the status data set."""
        return self._reply(self.association.send_n_create(attributes, ModalityPerformedProcedureStep, uid))

    def change(self, attributes: Dataset, uid: str = STEP) -> Dataset:
        """N-SET of a step."""
        return self._reply(self.association.send_n_set(attributes, ModalityPerformedProcedureStep, uid))

    def notify(self, attributes: Dataset | None, uid: str | None = NOTE) -> Dataset:
        """N-CREATE of a notification."""
        return self._reply(self.association.send_n_create(attributes, InstanceAvailabilityNotification, uid))

    def _reply(self, answer: tuple[Dataset, Dataset | None]) -> Dataset:
        assert "Status" in answer[0], "no answer"
        return answer[0]


@contextmanager
def announcer(port: int) -> Iterator[Announcer]:
    """A modality at ``port``, and an archive."""
    steps = ModalityPerformedProcedureStep, IMPLICIT_LITTLE
    notes = InstanceAvailabilityNotification, EXPLICIT_LITTLE
    with association(port, steps, notes, ae_title="CR1") as made:
        yield Announcer(made)
