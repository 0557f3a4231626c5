"""The DICOM conformance statement (PS3.2) of a node as it is configured, as Markdown.

What is negotiated is read from the contexts the server offers and the client proposes; only the words
around it are written here. ``docs/conformance.md`` is the statement of the shipped ``config.yaml``.
"""

from node.conformance.statement import statement

__all__ = ["statement"]
