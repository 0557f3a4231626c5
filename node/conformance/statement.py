"""The statement put together: the template and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jinja2
from pydantic import BaseModel
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.uid import UID

from handlers.rejections import Reason
from node import __version__
from node.config import Config
from node.conformance import acceptance, initiation, objects
from node.conformance.markdown import wrapped
from node.dicom_association import TimeOuts
from node.domain import JSON
from node.intake import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.jobs import SENDS_PER_DESTINATION
from node.tls import TLS_1_2_SUITES
from sr_writer.codes import PRIVATE_SCHEME
from sr_writer.observer import MANUFACTURER

TEMPLATE = "statement.md.j2"
FEW = 10
"""SOP classes of one service that the overview names one by one."""
PARAMETERS = ("receive", "study.source", "delivery", "retention")
"""Sections of the configuration that change what a peer sees."""


def statement(config: Config) -> str:
    """The whole text; the same for the same settings."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("node.conformance", ""), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, autoescape=False)
    environment.filters |= {"name": _name, "tag": _tag, "attribute": dictionary_description, "status": _status}
    return wrapped(environment.get_template(TEMPLATE).render(_told(config)))


def _told(config: Config) -> JSON:
    offers, used = acceptance.offers(config), {uid for one in initiation.ACTIVITIES for uid in one.sop_classes}
    offered = {offer.service.key for offer in offers}
    return {
        "config": config, "version": __version__, "manufacturer": MANUFACTURER, "private_scheme": PRIVATE_SCHEME,
        "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
        "implementation_version_name": IMPLEMENTATION_VERSION_NAME,
        "offers": offers, "used": used,
        "not_offered": [one for one in acceptance.SERVICES if one.key not in offered and one.setting],
        "services": [one for one in acceptance.SERVICES if one.key in offered], "causes": acceptance.causes,
        "rejections": [(reason, acceptance.REJECTIONS[reason]) for reason in Reason],
        "activities": initiation.ACTIVITIES, "overview": _overview(offers), "sends": SENDS_PER_DESTINATION,
        "modules": objects.MODULES, "kinds": objects.KINDS, "private_codes": objects.private_codes(),
        "schemes": objects.schemes(), "time_outs": TimeOuts(), "suites": TLS_1_2_SUITES,
        "parameters": list(_parameters(config)),
    }


def _overview(offers: list[acceptance.Offer]) -> list[tuple[str, str, bool, bool]]:
    """Service, SOP class, and whether the node is its user or provider; the many storage classes are one line."""
    used = {uid: one for one in initiation.ACTIVITIES for uid in one.sop_classes}
    provided = {one.uid: one for offer in offers for one in offer.classes}
    lines = []
    for offer in offers:
        many = [one for one in offer.classes if one.uid not in used] if len(offer.classes) > FEW else []
        if many:
            lines.append((offer.service.name, f"{len(many)} SOP Classes of the table below", False, True))
        lines += [(offer.service.name, _name(one.uid), one.scu or one.uid in used, one.scp)
                  for one in offer.classes if one not in many]
    services = {one.section: one.name for one in acceptance.SERVICES}
    lines += [(services[one.section], _name(uid), True, False) for uid, one in used.items() if uid not in provided]
    return lines


def _parameters(config: Config) -> Iterator[tuple[str, str, str]]:
    """Key, default and value here, of every setting a peer may notice; lists of peers have tables of their own."""
    for path in PARAMETERS:
        section: Any = config
        for name in path.split("."):
            section = getattr(section, name)
        yield from _values(path, section)


def _values(path: str, section: BaseModel) -> Iterator[tuple[str, str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            yield from _values(f"{path}.{name}", value)
        elif name != "allowed_peers":
            yield f"{path}.{name}", _shown(default), _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None or value == "" else str(value)


def _name(uid: str) -> str:
    """The standard's name, or the UID itself where it has none."""
    return UID(uid).name


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _status(value: int) -> str:
    return f"{value:04X}"
