"""Imaging Measurement Report (TID 1500) as Comprehensive 3D SR: what IHE AI Results asks for, read by machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from node.domain import AnalysisResult, ReportIdentity
from node.errors import ReportInvalid
from sr_writer import items
from sr_writer.codes import PRIORITY, Code
from sr_writer.content import measurement_group
from sr_writer.document import assemble, language
from sr_writer.image_library import image_library
from sr_writer.items import Relationship
from sr_writer.observer import algorithm, models, observer_context
from sr_writer.references import Reference, of_result
from sr_writer.wording import finding_sentence, flagged_sentence, remarks, wording

TEMPLATE = "1500"
LABEL = "AI result"


def build(result: AnalysisResult, source: Dataset, images: Sequence[Dataset], identity: ReportIdentity) -> Dataset:
    """The report of one study version.

    ``source`` is the head of the decisive (or first) image, whose patient and study attributes are taken over;
    ``images`` are the heads of all evidence images.

    Raises:
        UnusableIdentity: the source's UIDs name nothing.
        ReportInvalid: result, images and identity do not fit together.
    """
    references = of_result(result, images)
    children = [
        language(identity),
        *observer_context(identity),
        # Not the specific procedure: CID 100 is what validators of this template accept.
        items.code(Code.PROCEDURE_REPORTED, Code.IMAGING_PROCEDURE, Relationship.HAS_CONCEPT_MOD),
        image_library(references),
        _measurements(result, references, identity),
        items.container(Code.QUALITATIVE_EVALUATIONS, _evaluations(result, identity)),
    ]
    return assemble(
        Comprehensive3DSRStorage,
        items.container(Code.IMAGING_MEASUREMENT_REPORT, children, None, TEMPLATE),
        LABEL,
        result=result,
        source=source,
        references=references,
        identity=identity,
    )


def _measurements(result: AnalysisResult, references: Sequence[Reference], identity: ReportIdentity) -> Dataset:
    """Imaging Measurements: the algorithms in full once, then a group per finding."""
    images = {reference.sop_instance_uid: reference for reference in references}
    groups = [measurement_group(finding, result, images, identity) for finding in result.findings]
    if not groups:
        raise ReportInvalid(f"study {result.study_instance_uid}: a report needs at least one finding")
    return items.container(Code.IMAGING_MEASUREMENTS, [*_algorithm(result), *groups])


def _algorithm(result: AnalysisResult) -> list[Dataset]:
    """Algorithm Identification (TID 4019) of the model that scored, with all that decides a score."""
    triage = result.triage_model
    parameters = (f"prompt_set={result.prompt_set}", f"aggregate={result.aggregate}", f"sha256={triage.sha256}")
    return algorithm(triage, *parameters)


def _evaluations(result: AnalysisResult, identity: ReportIdentity) -> Iterator[Dataset]:
    """TID 1500 row 12, statements about the study: priority, a sentence per finding, remarks, who made it, notices.

    The findings model is named in a sentence: neither this container nor the measurements take a second algorithm.
    """
    words = wording(identity.language)
    if result.priority in PRIORITY:
        yield items.code(Code.PRIORITY, PRIORITY[result.priority])
    yield items.text(Code.SUMMARY, flagged_sentence(result, words))
    for finding in result.findings:
        yield items.text(Code.SUMMARY, finding_sentence(finding, words))
    for name, said in ((Code.IMPRESSION, result.impression), (Code.RECOMMENDATION, result.recommendation)):
        if said.strip():
            yield items.text(name, words.findings_text.format(text=said))
    makers = (words.made_by.format(name=model.name, version=model.version) for model in models(result))
    for sentence in (*remarks(result, words), *makers, *result.notices, words.closing):
        yield items.text(Code.COMMENT, sentence)
