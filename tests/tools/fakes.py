"""Models and a PACS that answer what a test tells them to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread

from node.config import Destination, PriorSource
from node.domain import (
    Box,
    Certainty,
    CommitmentReport,
    CommitmentVerdict,
    Finding,
    Findings,
    FindingsPrompt,
    ImageHead,
    ImageScore,
    ModelIdentity,
    ModelImage,
    OperatingPoint,
    OrderData,
    Presence,
    Priority,
    PromptSet,
    Relevance,
    RelevanceMethod,
    Side,
    StoreOutcome,
)
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set

LOW, HIGH = 0.1, 0.9
#: An image vector of four numbers and length 1.
EMBEDDING = np.array([0.5, 0.5, 0.5, 0.5], "<f2").tobytes()
POINT = OperatingPoint(present_above=0.6, absent_below=0.4)


def identity(name: str, *, demo: bool = True) -> ModelIdentity:
    """A model of that name; its numbers follow from the name."""
    number = sum(name.encode())
    return ModelIdentity(name=name, version="1", sha256=f"{number:064x}", device_uid=f"2.25.{number}", demo=demo)


@dataclass
class FakeExplainer:
    """Finds everything in the upper left corner; ``unreliable`` findings fail their check, ``errors`` are raised."""

    identity: ModelIdentity = field(default_factory=lambda: identity("fake-triage"))
    method: RelevanceMethod = RelevanceMethod.SINGLE_TOKEN
    unreliable: set[str] = field(default_factory=set)
    errors: dict[str, Exception] = field(default_factory=dict)
    #: SOP Instance UID and finding of every call.
    calls: list[tuple[str, str]] = field(default_factory=list)

    def explain(self, image: ModelImage, finding: str) -> Relevance:
        self.calls.append((image.sop_instance_uid, finding))
        if finding in self.errors:
            raise self.errors[finding]
        cells = np.zeros((4, 4), np.float32)
        cells[0, 0] = 3.0
        side, reliable = len(image.pixels), finding not in self.unreliable
        return Relevance(
            finding=finding, method=self.method, model=self.identity, cells=cells,
            map=np.kron(cells, np.ones((-(-side // 4),) * 2, np.float32))[:side, :side], deletion_drop=3.0,
            needed_drop=1.0 if reliable else 4.0, random_drop=0.2, reliable=reliable,
            reason="" if reliable else "no reliable localisation: the score falls as much elsewhere")


@dataclass
class FakeLocaliser:
    """Draws the same box around everything; ``error`` is raised instead."""

    identity: ModelIdentity = field(default_factory=lambda: identity("fake-findings"))
    box: Box = field(default_factory=lambda: Box(top=0.0, left=0.0, bottom=0.25, right=0.375))
    error: Exception | None = None
    #: Name of every finding that was asked for, and if its image may name the patient.
    calls: list[tuple[str, bool]] = field(default_factory=list)

    def locate(self, image: ModelImage, name: str) -> tuple[Box, ...]:
        self.calls.append((name, image.may_identify))
        if self.error is not None:
            raise self.error
        return (self.box,)


@dataclass
class FakeTriage:
    """Scores every image the same: ``present`` findings high, the others low; ``by_image`` says otherwise for one."""

    present: set[str] = field(default_factory=set)
    by_image: dict[str, dict[str, float]] = field(default_factory=dict)
    #: The same for one frame of an instance.
    by_frame: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    #: The same for one tile of a slide.
    by_tile: dict[int, dict[str, float]] = field(default_factory=dict)
    prompt_set: PromptSet = field(default_factory=lambda: load_prompt_set("demo-chest"))
    identity: ModelIdentity = field(default_factory=lambda: identity("fake-triage"))
    operating_points: dict[str, OperatingPoint] = field(default_factory=dict)
    shadow_reason: str = ""
    unvalidated: bool = False
    takes: int = 96
    #: Raised by the next calls, one each.
    errors: list[Exception] = field(default_factory=list)
    #: Domain scores of every image.
    gate: dict[str, float] = field(default_factory=dict)
    explains: FakeExplainer | None = None
    gate_by_image: dict[str, dict[str, float]] = field(default_factory=dict)
    #: SOP Instance UIDs and priority of every call.
    calls: list[tuple[list[str], Priority]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operating_points = {finding.key: POINT for finding in self.prompt_set.findings}

    def in_shadow(self) -> None:
        """Forget every operating point."""
        self.operating_points, self.shadow_reason = {}, "nothing was measured"

    def explainer(self) -> FakeExplainer | None:
        return self.explains

    def score(self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE) -> list[dict[str, float]]:
        return [dict(one.scores) for one in self.scored(images, priority)]

    def scored(
        self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE, *, acquired_at: float = 0.0,
        sender: str = "",
    ) -> list[ImageScore]:
        if self.errors:
            raise self.errors.pop(0)
        self.calls.append(([image.sop_instance_uid for image in images], priority))
        return [ImageScore(scores=self._scores(image), embedding=EMBEDDING,
                           gate=self.gate_by_image.get(image.sop_instance_uid, self.gate)) for image in images]

    def _scores(self, image: ModelImage) -> dict[str, float]:
        scores = {finding.key: HIGH if finding.key in self.present else LOW for finding in self.prompt_set.findings}
        told = self.by_image.get(image.sop_instance_uid, {})
        by_frame = self.by_frame.get((image.sop_instance_uid, image.frame), {})
        return scores | told | by_frame | self.by_tile.get(image.tile, {})


@dataclass
class FakeFindings:
    """Describes every image with the same words."""

    findings: tuple[Finding, ...] = ()
    impression: str = "Nothing is described."
    recommendation: str = ""
    prompt: FindingsPrompt = field(default_factory=lambda: load_findings_prompt("demo-chest-findings"))
    identity: ModelIdentity = field(default_factory=lambda: identity("fake-findings"))
    error: Exception | None = None
    batch: int = 1
    #: Of the images of the last call.
    may_identify: bool = False
    calls: list[list[str]] = field(default_factory=list)

    def sees(self, name: str, side: Side, impression: str) -> None:
        """Describe one finding from now on."""
        self.findings = (Finding(finding=name, presence=Presence.PRESENT, side=side, certainty=Certainty.PROBABLE),)
        self.impression = impression

    def describe(self, images: Sequence[ModelImage], order: OrderData | None = None) -> Findings:
        self.calls.append([image.sop_instance_uid for image in images])
        self.may_identify = any(image.may_identify for image in images)
        if self.error is not None:
            raise self.error
        return Findings(model=self.identity, prompt=self.prompt.name, findings=self.findings,
                        impression=self.impression, recommendation=self.recommendation)

    def likelihoods(self, images: Sequence[ModelImage]) -> dict[str, float]:
        return {}


@dataclass
class FakeArchive:
    """Has ``studies`` with ``series`` each; ``sends`` what a series holds to whoever asked, and says how many."""

    studies: list[ImageHead] = field(default_factory=list)
    series: dict[str, list[tuple[ImageHead, int | None]]] = field(default_factory=dict)
    sends: Callable[[ImageHead], int] = lambda series: 0
    #: Raised by every call.
    error: Exception | None = None
    calls: list[str] = field(default_factory=list)

    def find_studies(self, source: PriorSource, current: ImageHead, seconds: float) -> list[ImageHead]:
        self._called("find_studies")
        return list(self.studies)

    def find_series(self, source: PriorSource, study: ImageHead, seconds: float) -> list[tuple[ImageHead, int | None]]:
        self._called("find_series")
        return self.series.get(study.study_instance_uid, [])

    def retrieve(self, source: PriorSource, series: ImageHead, seconds: float) -> int:
        self._called("retrieve")
        return self.sends(series)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error


@dataclass
class FakePacs:
    """Takes everything, and commits it on the association that asks. Files by SOP Instance UID."""

    held: dict[str, Path] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def echo(self, destination: Destination) -> None: ...

    def store(self, destination: Destination, files: Sequence[Path]) -> list[StoreOutcome]:
        uids = [str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files]
        with self._lock:
            self.held |= dict(zip(uids, files, strict=True))
        return [StoreOutcome(sop_instance_uid=uid, sent=True, status=0) for uid in uids]

    def request_commitment(
        self, destination: Destination, transaction_uid: str, references: Sequence[tuple[str, str]]
    ) -> CommitmentReport | None:
        return CommitmentReport(
            transaction_uid=transaction_uid, committed=tuple(uid for _, uid in references), failed=())

    def report_commitment(self, sender: Destination, verdict: CommitmentVerdict) -> None: ...

    def find_instances(
        self, destination: Destination, study_instance_uid: str, series_instance_uid: str,
        sop_instance_uids: Sequence[str],
    ) -> frozenset[str]:
        return frozenset(self.held) & frozenset(sop_instance_uids)
