"""Taking instances in: bytes to a synced file, then one transaction, and only then Success.

Whatever engine serves the network drives the same three calls: ``begin(request)`` refuses early or
returns a :class:`Reception`; ``write(buffers)`` appends encoded bytes as they arrive; ``finish()``
returns a an :class:`Outcome` once bytes and row are safe. Nothing on this way
decodes or digests an instance, and no SQL runs before its bytes are safe.

Decided here:

* An instance keeps the UIDs of its data set. When its SOP Instance UID is not the one of the
  C-STORE command, it is kept all the same and the audit event holds both.
* A data set without a SOP Class UID is kept under the class of the command.
* Bytes whose Study, Series or SOP Instance UID is unusable are refused and kept in ``quarantine``,
  named by their digest, so that a sender's retries fill one file. Another class than the command's
  is refused and dropped: the sender still has it.
"""

from node.intake.lanes import lanes
from node.intake.ledger import Outcome
from node.intake.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, StoreRequest
from node.intake.reception import Intake, Reception

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "Intake",
    "Outcome",
    "Reception",
    "StoreRequest",
    "lanes",
]
