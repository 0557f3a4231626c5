"""The source images of a report: what was fed to a model, and so is evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.domain import AnalysisResult
from node.errors import ReportInvalid
from sr_writer.verbatim import text_element, values


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One image by its verbatim UIDs, with its head where the caller has it. ``frame`` is 0 for all frames."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 0
    head: Dataset | None = None

    def item(self) -> Dataset:
        """SOP Instance Reference Macro (PS3.3 10.8), with the frame where the image has several."""
        referenced = self.bare_item()
        if self.frame:
            referenced.ReferencedFrameNumber = self.frame
        return referenced

    def bare_item(self) -> Dataset:
        """The same without the frame."""
        referenced = Dataset()
        referenced.add(text_element("ReferencedSOPClassUID", [self.sop_class_uid]))
        referenced.add(text_element("ReferencedSOPInstanceUID", [self.sop_instance_uid]))
        return referenced


def of_result(result: AnalysisResult, images: Sequence[Dataset]) -> tuple[Reference, ...]:
    """One reference per evidence image of ``result``; when it names none (nothing could be evaluated), all ``images``.

    Raises:
        ReportInvalid: there is no image, or a head is not of the result's study.
    """
    heads = {_uid(head, "SOPInstanceUID"): head for head in images}
    for uid, head in heads.items():
        if _uid(head, "StudyInstanceUID") != result.study_instance_uid:
            raise ReportInvalid(
                f"image {uid} is not of study {result.study_instance_uid}: pass images of the study only"
            )
    named = {
        image.sop_instance_uid: Reference(
            sop_class_uid=image.sop_class_uid,
            sop_instance_uid=image.sop_instance_uid,
            series_instance_uid=image.series_instance_uid,
            frame=image.frame if _frames(heads.get(image.sop_instance_uid)) > 1 else 0,
            head=heads.get(image.sop_instance_uid),
        )
        for image in result.evidence
    }
    found = tuple(named.values()) or tuple(_of_head(head) for head in heads.values())
    if not found:
        raise ReportInvalid(f"study {result.study_instance_uid}: a report needs at least one source image")
    return found


def _of_head(head: Dataset) -> Reference:
    return Reference(
        sop_class_uid=_uid(head, "SOPClassUID"),
        sop_instance_uid=_uid(head, "SOPInstanceUID"),
        series_instance_uid=_uid(head, "SeriesInstanceUID"),
        head=head,
    )


def _uid(head: Dataset, keyword: str) -> str:
    return "".join(values(head, keyword)[:1])


def _frames(head: Dataset | None) -> int:
    said = values(head, "NumberOfFrames") if head is not None else ()
    return int(said[0]) if said and said[0].isdigit() else 1


def sequence(study_instance_uid: str, references: Sequence[Reference]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1): one study, its series, their instances."""
    series: dict[str, Dataset] = {}
    for reference in references:
        uid = reference.series_instance_uid
        if uid not in series:
            series[uid] = Dataset()
            series[uid].add(text_element("SeriesInstanceUID", [uid]))
            series[uid].ReferencedSOPSequence = []
        series[uid].ReferencedSOPSequence.append(reference.bare_item())
    study = Dataset()
    study.add(text_element("StudyInstanceUID", [study_instance_uid]))
    study.ReferencedSeriesSequence = list(series.values())
    return [study]
