"""Why an association is not accepted: result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Result (1 permanent, 2 transient), source (1 service user, 3 presentation) and reason."""

    CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
    CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
    #: Transient: something went wrong here.
    NO_REASON_GIVEN = (2, 1, 1)
    #: Transient: too little disk is free to take more studies on.
    TEMPORARY_CONGESTION = (2, 3, 1)
    #: Transient: too many associations, of this peer or of all.
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """One refusal; ``text`` is what the log and the audit say."""

    reason: Reason
    text: str
