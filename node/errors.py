"""Every error the node raises. A foreign exception is mapped into this tree once, at the border.

::

    NodeError
    ├── ConfigurationError          not retried: the operator has to change a setting
    │   ├── ModelUnavailable        not retried: a checkpoint is missing or unusable
    │   └── PromptSetRefused        not retried: a prompt set does not work with the checkpoint
    ├── BadInput                    not retried: the same bytes will fail again
    │   ├── UnusableIdentity        the three UIDs cannot be read
    │   ├── QueryMismatch           what a peer asks does not fit the information model it asks in
    │   ├── ClassMismatch           the data set is of another class than the command
    │   ├── AlreadyAnnounced        an announcement with this UID is known
    │   ├── NotAnnounced            no performed procedure step has this UID
    │   ├── StepEnded               a performed procedure step may no longer be updated
    │   ├── NotEvaluable            no model may speak about this, with the reason
    │   └── Undecodable             pixels cannot be turned into an image
    ├── NotAuthorised               not retried: the caller may not have this done, as the node is configured
    ├── ModelOutputError            not retried beyond the stage's own retry: the answer is invalid or truncated
    ├── ReportInvalid               not retried: an object failed its checks and must not leave
    ├── DeviceFull                  retried: the accelerator has no memory left, even for one image
    ├── DeviceLost                  retried, in a new process: the accelerator does not work any more in this one
    ├── ModelServerError            retried: a model server could not be reached, was too slow or is overloaded
    │   └── ModelServerRefused      not retried: the server says that this request will never do
    ├── StorageError                retried: the disk or the database refused
    │   └── OutOfSpace              retried by the sender: less than ``receive.min_free_disk_mb`` is left
    └── PeerError                   retried: a DICOM peer could not be reached or refused for now
        └── PeerRefused             not retried by itself: the peer said never
            └── NoPresentationContext   the peer takes nothing of what was proposed
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of all. ``retryable`` says if trying again without a change may help."""

    retryable = False


class ConfigurationError(NodeError):
    """A setting is missing, unknown or cannot work; the message names path, value and expectation."""


class ModelUnavailable(ConfigurationError):
    """A checkpoint is missing or is not of the expected architecture."""


class PromptSetRefused(ConfigurationError):
    """A prompt set failed its self-test with the checkpoint: nothing may be scored with it, others go on."""


class BadInput(NodeError):
    """The input cannot be processed, now or later."""


class UnusableIdentity(BadInput):
    """Study, Series or SOP Instance UID is missing or not 1 to 64 characters of ``[0-9A-Za-z.]``."""


class ClassMismatch(BadInput):
    """The SOP Class UID of a data set is not the one of the C-STORE command."""


class QueryMismatch(BadInput):
    """The identifier of a query or retrieve request does not fit its information model; the message says where."""


class AlreadyAnnounced(BadInput):
    """A Modality Performed Procedure Step or availability notification with this SOP Instance UID is known."""


class NotAnnounced(BadInput):
    """No Modality Performed Procedure Step has this SOP Instance UID."""


class StepEnded(BadInput):
    """The performed procedure step is completed or discontinued: it may no longer be updated."""


class NotEvaluable(BadInput):
    """The rules say that no model may speak about this input. The message is the reason shown."""


class Undecodable(BadInput):
    """The pixels cannot be turned into an image."""


class NotAuthorised(NodeError):
    """The caller may not have this done as the node is configured; the message names the setting."""


class ModelOutputError(NodeError):
    """A model's answer is empty, truncated or not of the asked form."""


class ReportInvalid(NodeError):
    """A result object failed its checks and is not sent."""


class DeviceFull(NodeError):
    """The accelerator's memory does not suffice for one image: something else uses it for now."""

    retryable = True


class DeviceLost(NodeError):
    """The accelerator failed in a way that only a new process mends, such as a device-side assertion."""

    retryable = True


class ModelServerError(NodeError):
    """The model server was away, too slow, overloaded, or answered with something that is no answer."""

    retryable = True


class ModelServerRefused(ModelServerError):
    """The model server refuses this request as it is: key, model name, or more than it takes."""

    retryable = False


class StorageError(NodeError):
    """The instance store or the database refused a write."""

    retryable = True


class OutOfSpace(StorageError):
    """Less disk is free than the configured reserve."""


class PeerError(NodeError):
    """A DICOM peer could not be reached, aborted, or answered with a failure that may pass."""

    retryable = True


class PeerRefused(PeerError):
    """The peer refused for good: unknown AE title, unsupported class, data set does not match."""

    retryable = False


class NoPresentationContext(PeerRefused):
    """The peer accepted the association, and none of its presentation contexts."""
