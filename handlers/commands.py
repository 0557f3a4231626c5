"""What the command set of a C-STORE says, whatever a sender wrote into it (PS3.7 section 9.3.1).

pynetdicom takes a command set for valid. Of one that is not, it aborts the association, or drops the request
without a word, so that the sender waits for its time-out. Here such values are read as they are, for the answer
to be about, and replaced by ones that can be answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import CTImageStorage, uid_to_service_class

LONGEST_UID = 64
MEDIUM = 0x0000
"""Priority. It is ignored: every instance is answered for at once."""
STAND_IN = CTImageStorage
"""Takes the place of a class that is none of storage, so that the storage service answers."""


@dataclass(frozen=True, kw_only=True)
class StoreCommand:
    """What a C-STORE-RQ says (PS3.7 section 9.3.1.1) and the presentation context it came on.

    Texts are verbatim, '' where they are missing.
    """

    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    move_originator_ae_title: str = ""
    has_data_set: bool = True


def read_store(command: Dataset, context_id: int) -> StoreCommand:
    """Read ``command``, and mend it in place until it can be answered.

    Raises:
        ValueError: there is no Message ID, so the answer could not be told from others.
    """
    message_id = _value(command, "MessageID")
    if not isinstance(message_id, int):
        raise ValueError("a C-STORE command without Message ID")
    said = StoreCommand(
        context_id=context_id, sop_class_uid=_text(command, "AffectedSOPClassUID"),
        sop_instance_uid=_text(command, "AffectedSOPInstanceUID"),
        move_originator_ae_title=_text(command, "MoveOriginatorApplicationEntityTitle").strip(),
    )
    kind, data_set_type = command.CommandField, command.CommandDataSetType  # they brought it here
    command.clear()
    command.CommandField, command.CommandDataSetType = kind, data_set_type
    command.MessageID, command.Priority = message_id, MEDIUM
    command.AffectedSOPClassUID = said.sop_class_uid if is_storage(said.sop_class_uid) else STAND_IN
    command.AffectedSOPInstanceUID = echoed(said.sop_instance_uid) or "0"
    return said


def is_storage(sop_class_uid: str) -> bool:
    """Whether it is a class of the Storage Service Class, one of the standard or a configured one."""
    return len(sop_class_uid) <= LONGEST_UID and issubclass(uid_to_service_class(sop_class_uid), StorageServiceClass)


def echoed(uid: str) -> str:
    """What the answer names: never more than a UID may have, so never what it cannot."""
    return uid[:LONGEST_UID]


def _text(command: Dataset, keyword: str) -> str:
    value = _value(command, keyword)
    return "" if value is None else str(value)


def _value(command: Dataset, keyword: str) -> object:
    """None where it is missing, empty or not of its VR."""
    try:
        return command.get(keyword)
    except (BytesLengthException, LookupError, TypeError, ValueError):
        return None
