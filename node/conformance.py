"""What the node negotiates, as text for a site's integrator: the core of a conformance statement (PS3.2)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID

from node import __version__
from node.config import Config
from node.intake import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.server.contexts import supported_contexts

AS_SCU = (
    ("1.2.840.10008.1.1", "C-ECHO of destinations"),
    ("1.2.840.10008.5.1.4.1.1.88.34", "C-STORE of measurement reports"),
    ("1.2.840.10008.5.1.4.1.1.88.11", "C-STORE of narrative reports"),
    ("1.2.840.10008.1.20.1", "N-ACTION asking for commitment; the report may come on a new association"),
    ("1.2.840.10008.5.1.4.1.2.2.1", "C-FIND for reports whose C-STORE was not answered"),
)


def statement(config: Config) -> str:
    """SOP classes and transfer syntaxes, read from the contexts that the server really offers."""
    return "\n".join(_lines(config))


def _lines(config: Config) -> Iterator[str]:
    yield f"DICOM conformance of dicom-ai-node {__version__}"
    yield f"AE title {config.node.ae_title}, port {config.node.port}"
    yield f"Implementation Class UID {IMPLEMENTATION_CLASS_UID}, version name {IMPLEMENTATION_VERSION_NAME}"
    receive = config.receive
    contexts = supported_contexts(receive.private_sop_classes, query_retrieve=receive.query_retrieve)
    yield ""
    yield "As SCP, in the node's order of preference of transfer syntaxes:"
    for syntax in dict.fromkeys(syntax for context in contexts for syntax in context.transfer_syntax):
        yield f"  {syntax}  {UID(syntax).name}"
    yield ""
    yield "SOP classes accepted:"
    for context in contexts:
        yield f"  {context.abstract_syntax}  {UID(context.abstract_syntax).name}"
    yield ""
    yield "As SCU:"
    for uid, purpose in AS_SCU:
        yield f"  {uid}  {UID(uid).name}: {purpose}"
