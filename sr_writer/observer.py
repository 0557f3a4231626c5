"""Who observed: the node as device, and the models whose algorithms it ran."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydicom.dataset import Dataset

from node.domain import AnalysisResult, ModelIdentity, ReportIdentity
from sr_writer import items
from sr_writer.codes import Code
from sr_writer.items import Relationship, coded
from sr_writer.verbatim import text_element

MANUFACTURER = "dicom-ai-node"
MODEL_NAME = "AI node"

_OBSERVER = Relationship.HAS_OBS_CONTEXT
_MODIFIER = Relationship.HAS_CONCEPT_MOD


def observer_context(identity: ReportIdentity) -> list[Dataset]:
    """Observation Context of a device (TID 1001, 1002, 1004)."""
    return [
        items.code(Code.OBSERVER_TYPE, Code.DEVICE, _OBSERVER),
        items.uidref(Code.DEVICE_OBSERVER_UID, identity.observer_uid, _OBSERVER),
        items.text(Code.DEVICE_OBSERVER_NAME, identity.ae_title, _OBSERVER),
        items.text(Code.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER, _OBSERVER),
        items.text(Code.DEVICE_OBSERVER_MODEL_NAME, MODEL_NAME, _OBSERVER),
        items.text(Code.DEVICE_OBSERVER_SERIAL_NUMBER, identity.node_uid, _OBSERVER),
    ]


def algorithm(model: ModelIdentity, *parameters: str) -> list[Dataset]:
    """Algorithm Identification (TID 4019); name and version always come together."""
    return [
        items.text(Code.ALGORITHM_NAME, model.name, _MODIFIER),
        items.text(Code.ALGORITHM_VERSION, model.version, _MODIFIER),
        *(items.text(Code.ALGORITHM_PARAMETERS, parameter, _MODIFIER) for parameter in parameters),
    ]


def models(result: AnalysisResult) -> Iterator[ModelIdentity]:
    """The models that spoke: triage, and findings where it was asked."""
    yield result.triage_model
    if result.findings_model is not None:
        yield result.findings_model


def contributing_equipment(model: ModelIdentity, at: datetime) -> Dataset:
    """Item of Contributing Equipment Sequence (PS3.3 C.12.1): IHE AIR wants one per algorithm, with its Device UID."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(Code.PROCESSING_EQUIPMENT.concept)]
    item.Manufacturer = MANUFACTURER
    item.add(text_element("ManufacturerModelName", [_line(model.name)]))
    item.add(text_element("SoftwareVersions", [_line(model.version)]))
    item.DeviceUID = model.device_uid
    item.ContributionDateTime = at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = "AI model inference"
    return item


def _line(text: str) -> str:
    """A Long String out of a model's name, which may be a path with backslashes."""
    return text.replace("\\", "/")[:64]
