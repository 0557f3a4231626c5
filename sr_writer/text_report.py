"""Narrative for people (TID 2000) as Basic Text SR: the object most viewers show as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from node.domain import AnalysisResult, ReportIdentity
from sr_writer import items
from sr_writer.codes import Code
from sr_writer.document import assemble, language
from sr_writer.items import Relationship
from sr_writer.observer import models, observer_context
from sr_writer.references import of_result
from sr_writer.verbatim import values
from sr_writer.wording import Wording, finding_sentence, flagged_sentence, remarks, wording

TEMPLATE = "2000"
LABEL = "AI text report"


def build(result: AnalysisResult, source: Dataset, images: Sequence[Dataset], identity: ReportIdentity) -> Dataset:
    """The narrative of one study version, out of the same result as its measurement report.

    The images are named in the evidence sequence only: text viewers cannot show an IMAGE item.

    Raises:
        UnusableIdentity: the source's UIDs name nothing.
        ReportInvalid: result, images and identity do not fit together.
    """
    words = wording(identity.language)
    children = [
        language(identity),
        items.code(Code.PROCEDURE_REPORTED, procedure(source), Relationship.HAS_CONCEPT_MOD),
        *observer_context(identity),
        _section(Code.FINDINGS_SECTION, Code.FINDING, _findings(result, words)),
        _section(Code.IMPRESSIONS_SECTION, Code.IMPRESSION, _impression(result, words)),
        _section(Code.RECOMMENDATIONS_SECTION, Code.RECOMMENDATION, _recommendation(result, words)),
    ]
    return assemble(
        BasicTextSRStorage,
        items.container(Code.DIAGNOSTIC_IMAGING_REPORT, children, None, TEMPLATE),
        LABEL,
        result=result,
        source=source,
        references=of_result(result, images),
        identity=identity,
    )


def procedure(source: Dataset) -> Code:
    """The procedure the image is of, as far as its header says."""
    modality, part = ("".join(values(source, keyword)).strip() for keyword in ("Modality", "BodyPartExamined"))
    chest = modality in ("CR", "DX") and part in ("CHEST", "THORAX")
    return Code.CHEST_RADIOGRAPH if chest else Code.IMAGING_PROCEDURE


def _section(heading: Code, name: Code, sentences: Iterator[str]) -> Dataset:
    return items.container(heading, [items.text(name, sentence) for sentence in sentences])


def _findings(result: AnalysisResult, words: Wording) -> Iterator[str]:
    """First of all that this is no radiologist's report; then every finding that was looked for, and the remarks."""
    yield words.ai_output
    for finding in result.findings:
        yield finding_sentence(finding, words)
    yield from remarks(result, words)


def _impression(result: AnalysisResult, words: Wording) -> Iterator[str]:
    yield flagged_sentence(result, words)
    if result.priority in words.priority:
        yield words.priority[result.priority]
    if result.impression.strip():
        yield words.findings_text.format(text=result.impression)


def _recommendation(result: AnalysisResult, words: Wording) -> Iterator[str]:
    """The findings model's words, who made this, and last the notices."""
    yield words.recommendation
    if result.recommendation.strip():
        yield words.findings_text.format(text=result.recommendation)
    for model in models(result):
        yield words.made_by.format(name=model.name, version=model.version)
    yield words.closing
    yield from result.notices
