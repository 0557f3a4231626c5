"""An entity as the identifier of a C-FIND response (PS3.4 C.4.1.1.3.2): what was asked, and what must be said."""

from __future__ import annotations

from pydicom import config
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from node.results.finding import Entity
from node.results.levels import COUNTED, LEVEL_OF, UNIQUE, Level, levels_of, tag_of, vr_of
from node.results.query import CHARACTER_SET, Query

UNICODE = "ISO_IR 192"
AVAILABILITY = "InstanceAvailability"


def answer(query: Query, entity: Entity, ae_title: str) -> Dataset:
    """Every attribute that was asked for, empty where there is nothing to say, with level, unique keys and AE title."""
    made = Dataset()
    for tag, vr in query.asked:
        keyword = keyword_for_tag(tag)
        made.add(_element(tag, vr, _text(keyword, entity) if _is_known(keyword, entity.level) else ""))
    for level in levels_of(query.root):
        if level.depth <= entity.level.depth:
            made.add(_element(tag_of(UNIQUE[level]), vr_of(UNIQUE[level]), _text(UNIQUE[level], entity)))
    made.QueryRetrieveLevel = entity.level.value
    made.RetrieveAETitle = ae_title
    if any(not _is_ascii(element) for element in made):
        made.add(DataElement(CHARACTER_SET, "CS", UNICODE))
    return made


def is_supported(query: Query) -> bool:
    """If every key that is asked for is one of ours."""
    asked = {keyword_for_tag(tag) for tag, _ in query.asked} - {"RetrieveAETitle"}
    return all(_is_known(keyword, query.level) for keyword in asked)


def _is_known(keyword: str, level: Level) -> bool:
    if keyword in LEVEL_OF:
        return LEVEL_OF[keyword].depth <= level.depth
    return keyword in (*COUNTED[level], AVAILABILITY)


def _text(keyword: str, entity: Entity) -> str:
    if keyword == AVAILABILITY:
        return "ONLINE"
    if keyword == "ModalitiesInStudy":
        return "\\".join(entity.several("Modality"))
    if keyword == "SOPClassesInStudy":
        return "\\".join(entity.several("SOPClassUID"))
    if keyword.startswith("NumberOf"):
        return str(_number(keyword, entity))
    return entity.newest.value(keyword)


def _number(keyword: str, entity: Entity) -> int:
    counted = {"Studies": Level.STUDY, "Series": Level.SERIES, "Instances": Level.IMAGE}
    level = next(level for ending, level in counted.items() if keyword.endswith(ending))
    return len(entity.several(UNIQUE[level]))


def _element(tag: int, vr: str, text: str) -> DataElement:
    """As it is: a copied value may break its VR, and a peer's own tag may be of any."""
    if vr == "SQ":
        return DataElement(tag, vr, [])
    return DataElement(tag, vr, text if text else None, validation_mode=config.IGNORE)


def _is_ascii(element: DataElement) -> bool:
    return element.VR == "SQ" or str(element.value).isascii()
