"""Every extension point of the node on one page. Implementations are named in ``app.py`` only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from node.config import Destination, PriorSource
from node.domain import (
    JSON,
    Abilities,
    Box,
    CommitmentReport,
    CommitmentVerdict,
    Findings,
    FindingsPrompt,
    ImageHead,
    ImageScore,
    Likelihood,
    ModelIdentity,
    ModelImage,
    OperatingPoint,
    OrderData,
    Priority,
    PromptSet,
    Question,
    Relevance,
    RelevanceMethod,
    Reply,
    StoreOutcome,
)


class TriageModel(Protocol):
    """Scores images against the findings of one prompt set (MedSigLIP and its like)."""

    prompt_set: PromptSet
    identity: ModelIdentity
    #: Cut-offs by finding key that belong to this identity; empty puts the pipeline in shadow mode.
    operating_points: Mapping[str, OperatingPoint]
    #: Why there are none; empty when there are.
    shadow_reason: str
    #: The cut-offs are nominal ones that nobody measured: every output is marked.
    unvalidated: bool
    #: Side in pixels of the squares that it makes of images by ``node.resizing.bilinear``, so that it may be given
    #: them; 0 where it resizes otherwise and has to see the whole image.
    takes: int

    def score(self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE) -> list[dict[str, float]]:
        """Per image, a score in 0..1 by finding key. Thread-safe; calls may be batched, the urgent ones first."""
        ...

    def scored(
        self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE, *, acquired_at: float = 0.0,
        sender: str = "",
    ) -> list[ImageScore]:
        """Per image, scores, embedding and gate. Thread-safe; callers share batches.

        The order among callers is by ``priority``, then a fair share per ``sender`` (AE title), then the newest
        ``acquired_at`` (seconds since the epoch; 0 is unknown).

        Raises:
            Undecodable: an image is not a uint8 RGB square.
            ModelOutputError: the model answered with something that is no number.
            DeviceLost: the accelerator does not work any more in this process.
        """
        ...

    def explainer(self) -> Explainer | None:
        """Relevance maps by the same weights, that delay no score; None where none are to be made."""
        ...


class Explainer(Protocol):
    """Shows where in an image the score of a finding comes from."""

    identity: ModelIdentity
    method: RelevanceMethod

    def explain(self, image: ModelImage, finding: str) -> Relevance:
        """A relevance map with its deletion check; only a reliable one may be shown. Thread-safe.

        Raises:
            ConfigurationError: the prompt set has no such finding.
            Undecodable: the image is not a uint8 RGB square.
            ModelOutputError: the model answered with something that is no number.
            DeviceFull: the memory does not suffice for one image.
            DeviceLost: the accelerator does not work any more in this process.
        """
        ...


class Localiser(Protocol):
    """Says in boxes where a finding is (MedGemma 1.5 and its like). Thread-safe."""

    @property
    def identity(self) -> ModelIdentity:
        """Who speaks."""
        ...

    def locate(self, image: ModelImage, name: str) -> tuple[Box, ...]:
        """Boxes of the finding called ``name``, in fractions (0..1) of the image's square.

        Raises:
            ModelOutputError: it gave none that can be read.
            Others: see ``VisionLanguageModel.ask``.
        """
        ...


class FindingsModel(Protocol):
    """Describes the images of one study in words (MedGemma and its like)."""

    prompt: FindingsPrompt
    #: How many studies it is worth asking about at a time.
    batch: int

    @property
    def identity(self) -> ModelIdentity:
        """Who speaks: the model with this prompt."""
        ...

    def describe(self, images: Sequence[ModelImage], order: OrderData | None = None) -> Findings:
        """One validated answer. Thread-safe; callers may share a batch, which changes no answer.

        With ``order`` it is the second run, in which the order is quoted as data; see ``prompt.with_order``.

        Raises:
            ModelOutputError: the answer is empty, truncated or invalid, also after one retry.
            NotEvaluable: the images are not those that the prompt is about.
            NotAuthorised: an image may not leave this machine.
            ModelServerError: the model's server gave no answer, also after some tries.
        """
        ...

    def likelihoods(self, images: Sequence[ModelImage]) -> Mapping[str, float]:
        """By finding key how likely the model answers yes rather than no: a rank in 0..1, not a probability.

        Raises: as :meth:`describe`.
            ModelOutputError: it does not tell how likely a word is.
        """
        ...


class VisionLanguageModel(Protocol):
    """Writes text about images: what a findings model asks, in this process or on a server. Thread-safe.

    The same question has the same reply, whatever else is asked at the same time.
    """

    #: Name of the checkpoint or of the served model, for messages.
    name: str
    #: How many questions it is worth asking at a time.
    batch: int

    @property
    def abilities(self) -> Abilities:
        """What it is able to do. Raises ModelServerError."""
        ...

    def prepare(self, question: Question) -> None:
        """Do now what the first question of this form and length would have to wait for; nothing is asked.

        Raises:
            ModelUnavailable: the model cannot be held to its schema, or cannot read so much.
        """
        ...

    def identity(self, prompt_sha256: str) -> ModelIdentity:
        """Who speaks when it is asked by a prompt file of this digest (hex)."""
        ...

    def ask(self, question: Question) -> Reply:
        """What it writes, not validated.

        Raises:
            Undecodable: an image is not a uint8 RGB square.
            NotAuthorised: an image may not leave this machine.
            ModelOutputError: the question is longer than what the model can read.
            ModelServerError: the server gave no reply, also after some tries.
            DeviceFull, DeviceLost: the accelerator could not do it.
        """
        ...

    def likelihood_of_yes(self, question: Question) -> Likelihood:
        """How likely it would begin its reply with yes rather than with no; from one forward pass, nothing is written.

        Raises: as :meth:`ask`.
            ModelOutputError: it cannot tell; see ``abilities.logprobs``.
        """
        ...


class PacsClient(Protocol):
    """Speaks to a destination as SCU."""

    def echo(self, destination: Destination) -> None:
        """C-ECHO. Raises PeerError."""
        ...

    def store(self, destination: Destination, files: Sequence[Path]) -> list[StoreOutcome]:
        """C-STORE every file on one association, in order; an outcome per file.

        Raises:
            PeerError: no association could be made, so nothing left.
        """
        ...

    def request_commitment(
        self, destination: Destination, transaction_uid: str, references: Sequence[tuple[str, str]]
    ) -> CommitmentReport | None:
        """N-ACTION for (SOP Class UID, SOP Instance UID) pairs; the report if it came on the same association.

        Raises:
            PeerError: the request was not accepted.
        """
        ...

    def report_commitment(self, sender: Destination, verdict: CommitmentVerdict) -> None:
        """N-EVENT-REPORT to a sender that asked the node to commit, on a new association.

        Raises:
            PeerError: the sender did not take it.
        """
        ...

    def find_instances(
        self, destination: Destination, study_instance_uid: str, series_instance_uid: str,
        sop_instance_uids: Sequence[str],
    ) -> frozenset[str]:
        """Which of these instances of one series the destination holds, by C-FIND.

        Raises:
            PeerError: the query is not offered, or it failed.
        """
        ...


class Counter(Protocol):
    """Asks an archive how much of a study it has."""

    def count_instances(self, archive: Destination, study_instance_uid: str) -> int | None:
        """How many instances; None when the archive cannot say.

        Raises:
            PeerError: it is away, offers no query, or the query failed.
        """
        ...


class Archive(Protocol):
    """Asks an archive for earlier studies of a patient and has them sent. Heads hold what it answered, and no more."""

    def find_studies(self, source: PriorSource, current: ImageHead, seconds: float) -> list[ImageHead]:
        """Studies under the Patient ID of ``current``, not later than its Study Date.

        Raises:
            PeerError: it is away, offers no query, the query failed, or took longer than ``seconds``.
        """
        ...

    def find_series(self, source: PriorSource, study: ImageHead, seconds: float) -> list[tuple[ImageHead, int | None]]:
        """Series of a study that was found, each with what is known of the study and how many instances it has.

        The number is None where the archive does not say. Raises PeerError as :meth:`find_studies`.
        """
        ...

    def retrieve(self, source: PriorSource, series: ImageHead, seconds: float) -> int:
        """Have a series sent into the ``prior`` lane; how many instances the archive says it sent.

        Raises:
            PeerError: as :meth:`find_studies`, or nothing was sent because of a failure.
        """
        ...


class Put(Protocol):
    """Enqueues a job in the caller's transaction; a key that was ever used is not run again. Low numbers run first."""

    def __call__(
        self, connection: sa.Connection, *, stage: str, key: str, priority: int, arguments: JSON,
        delay_seconds: float = 0, partition: str = "", after: str = "",
    ) -> None:
        """``partition`` groups jobs of a queue that has a limit per group, such as deliveries per destination.

        ``after`` is the stage that commits now, where its own job may go on with this one.
        """
        ...
