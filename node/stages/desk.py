"""What every stage works with: its collaborators, its run, and what earlier stages left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.arrivals import evidence_of
from node.config import Config, PipelineSection
from node.database import reading, run, study
from node.domain import (
    JSON,
    FindingsPrompt,
    Lane,
    Priority,
    PromptSet,
    ReceivedInstance,
    Study,
)
from node.errors import NotEvaluable, StorageError
from node.guardrails import Words, load_words
from node.interfaces import FindingsModel, Localiser, Put, TriageModel
from node.stages.selection import Limits
from node.studies import as_study


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Collaborators of the stages in one process. Models are there in the worker only."""

    config: Config
    engine: sa.Engine
    chain: str
    put: Put
    node_uid: str
    software_version: str
    prompt_sets: Mapping[str, PromptSet]
    findings_prompts: Mapping[str, FindingsPrompt]
    triage_models: Mapping[str, TriageModel]
    findings_models: Mapping[str, FindingsModel]
    today: Callable[[], date]
    #: Where the configured findings model can give boxes.
    localiser: Localiser | None = None
    #: Prompt sets that failed their self-test here, with the reason.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: Findings prompts that the loaded model cannot answer, with the reason.
    unanswerable: Mapping[str, str] = field(default_factory=dict)
    #: What the guardrails look for.
    words: Words = field(default_factory=load_words)

    @property
    def data_dir(self) -> Path:
        return self.config.node.data_dir

    @property
    def limits(self) -> Limits:
        return Limits(most=self.config.models.triage.max_images)

    @property
    def early_limits(self) -> Limits:
        return Limits(most=self.limits.most, early=self.config.models.triage.early_images)

    def refusal(self, prompt_set: str) -> str:
        """Why nothing may be scored with a prompt set; '' when it may."""
        reason = self.refused.get(prompt_set, "")
        return f"the prompt set was refused: {reason}" if reason else ""

    def pipeline(self, name: str) -> PipelineSection:
        """The configured pipeline of that name; a run may outlive a change of configuration."""
        for section in self.config.pipelines:
            if section.name == name:
                return section
        raise NotEvaluable(f"pipeline {name!r} is not configured any more")


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """Which run a job is about."""

    study_instance_uid: str
    version: int
    priority: Priority

    @classmethod
    def of(cls, arguments: JSON) -> RunRef:
        return cls(study_instance_uid=arguments["study_instance_uid"], version=arguments["version"],
                   priority=Priority(arguments["priority"]))

    def key(self, stage: str) -> str:
        """The key of the job of a stage."""
        return f"{stage}:{self.study_instance_uid}:v{self.version}"

    def arguments(self, priority: Priority | None = None) -> JSON:
        """The arguments of the next job."""
        return {"study_instance_uid": self.study_instance_uid, "version": self.version,
                "priority": int(priority or self.priority)}


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run as the database has it."""

    ref: RunRef
    study: Study
    started_at: float
    trigger: str
    evidence: tuple[ReceivedInstance, ...]
    results: JSON
    #: Nothing of the sequence is left to do.
    ended: bool = False

    @property
    def historical(self) -> bool:
        return self.study.lane is Lane.HISTORICAL


def load_run(engine: sa.Engine, ref: RunRef) -> RunState:
    """Read the run, its study and its evidence."""
    with reading(engine) as connection:
        return read_run(connection, ref)


def read_run(connection: sa.Connection, ref: RunRef) -> RunState:
    """The same inside a transaction."""
    row = connection.execute(sa.select(run).where(
        run.c.study_instance_uid == ref.study_instance_uid, run.c.version == ref.version)).one_or_none()
    if row is None:
        raise StorageError(f"run {ref.study_instance_uid} v{ref.version} is not in the database")
    booked = connection.execute(
        sa.select(study).where(study.c.study_instance_uid == ref.study_instance_uid)).one()
    return RunState(
        ref=ref, study=as_study(dict(booked._mapping)), started_at=row.started_at, trigger=row.trigger,
        evidence=tuple(evidence_of(connection, row.instance_ids)), results=row.results,
        ended=row.state != "running")


def dump(kind: Any, value: Any) -> Any:
    """A domain value as JSON."""
    return TypeAdapter(kind).dump_python(value, mode="json")


def parse(kind: Any, value: Any) -> Any:
    """A domain value from the JSON that :func:`dump` made."""
    return TypeAdapter(kind).validate_python(value)


def local(seconds: float) -> datetime:
    """A stored point in time with the node's own UTC offset."""
    return datetime.fromtimestamp(seconds).astimezone()
