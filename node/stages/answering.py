"""What becomes of a question to the findings model that has no answer."""

from __future__ import annotations

from node.domain import JSON, FindingsPrompt, FindingsState
from node.errors import BadInput, ModelOutputError, ModelServerError, NodeError, NotAuthorised

UNANSWERED = (ModelOutputError, ModelServerError, NotAuthorised, BadInput)
"""What is a result: the flag stands without it."""
WITHHELD = (NotAuthorised, BadInput)
"""Of these, what nobody asked the model."""


def identity_of(prompt: FindingsPrompt) -> JSON:
    """Which prompt was asked, for dossier and audit."""
    return {"name": prompt.name, "version": prompt.version, "sha256": prompt.sha256}


def unanswered(error: NodeError) -> JSON:
    """The result of a question without an answer."""
    told = FindingsState.WITHHELD if isinstance(error, WITHHELD) else FindingsState.FAILED
    return {"state": told.value, "reason": str(error)}


def withheld(reason: str) -> JSON:
    """The result of a question that was not asked."""
    return {"state": FindingsState.WITHHELD.value, "reason": reason}
