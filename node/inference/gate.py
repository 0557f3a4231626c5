"""The gate: what kind of picture an image looks like to the model, before its answers count.

Headers lie; a model asked for pneumothorax scores a knee as well. The kinds are text prompts of the prompt set,
compared with the image vector that the findings are scored with, so the gate costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from node.domain import Gate


def refusal(gate: Gate | None, scores: Mapping[str, float]) -> str:
    """Why no finding may be read from an image with these domain scores (0..1 by key, sum 1); '' when they may.

    Without a gate, or without scores (a checkpoint that knows one kind of picture only), the header alone decides.
    """
    if gate is None or not scores:
        return ""
    accepted = max(scores[key] for key in gate.accepted)
    others = {domain.key: scores[domain.key] for domain in gate.domains if domain.key not in gate.accepted}
    strongest = max(others, key=lambda key: others[key])
    if accepted - others[strongest] >= gate.margin:
        return ""
    names = {domain.key: domain.name for domain in gate.domains}
    wanted = " or ".join(names[key] for key in gate.accepted)
    if others[strongest] > accepted:
        return f"looks like {names[strongest]}, not {wanted}"
    return f"looks too much like {names[strongest]} to be {wanted}"
