"""What a prompt of the triage model can mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from node.demo.phantom import FINDINGS, LATERALISED


class Claim(Enum):
    """What is said of a finding, or of the whole image. Sides are the patient's."""

    PRESENT = "present"
    ABSENT = "absent"
    LEFT = "left"
    RIGHT = "right"
    NOT_LEFT = "not left"
    NOT_RIGHT = "not right"
    NORMAL = "normal"
    ABNORMAL = "abnormal"


@dataclass(frozen=True)
class Meaning:
    """A claim about a finding; `finding` is empty where the claim is about the whole image."""

    claim: Claim
    finding: str = ""


_SIDES = (Claim.LEFT, Claim.RIGHT, Claim.NOT_LEFT, Claim.NOT_RIGHT)

#: Every meaning, in the order that directions keep (node.demo.train_directions).
MEANINGS: tuple[Meaning, ...] = (
    *(Meaning(claim, finding) for claim in (Claim.PRESENT, Claim.ABSENT) for finding in FINDINGS),
    *(Meaning(claim, finding) for claim in _SIDES for finding in LATERALISED),
    Meaning(Claim.NORMAL),
    Meaning(Claim.ABNORMAL),
)
