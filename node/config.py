"""Settings: frozen values, read once at start from ``config.yaml`` and the environment.

``AINODE__SECTION__KEY`` in the environment overrides the file; an omitted key has the
default written here, and ``config.yaml`` states the same defaults. Relative paths are
relative to the configuration file.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from node.domain import IntendedUse, ReportKind, ReportProfile
from node.errors import ConfigurationError

PASSWORD = re.compile(r"://\S*@")
"""User and password of a URL, up to the last sign that may end them."""


def _off(value: object) -> None:
    """The only value of a setting that is agreed on and not built; YAML reads ``off`` as false."""
    if value and value != "off":
        raise ValueError("this is not in this version; leave it null or off")


Off = Annotated[None, BeforeValidator(_off)]


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSection(Section):
    """Who the node is and where it keeps what it received."""

    ae_title: str = Field("AINODE", min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]+$")
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    data_dir: Path = Path("data")
    language: Literal["en", "ko"] = "en"
    intended_use: IntendedUse = IntendedUse.RESEARCH
    jurisdiction: str = ""
    authorisation_reference: str = ""

    @model_validator(mode="after")
    def clinical_needs_authorisation(self) -> NodeSection:
        if self.intended_use is IntendedUse.CLINICAL and not (self.jurisdiction and self.authorisation_reference):
            raise ValueError("clinical use needs jurisdiction and authorisation_reference")
        return self


class DatabaseSection(Section):
    """Where rows, jobs and audit live: one database for all of them."""

    url: str = Field("", pattern=r"^((sqlite|postgresql)(\+[a-z0-9]+)?://.*)?$")


class Peer(Section):
    """A sender that may associate. ``*`` is any AE title; an empty host is any address.

    ``host`` is a name, an address or a network (``10.1.0.0/16``). With ``certificate`` the peer may come over
    TLS only, with a certificate that bears this name. 0 associations is ``receive.max_associations_per_peer``.
    """

    ae_title: str = Field("*", min_length=1, max_length=16)
    host: str = ""
    certificate: str = ""
    max_associations: int = Field(0, ge=0)

    @field_validator("host")
    @classmethod
    def network_is_one(cls, value: str) -> str:
        if "/" in value:
            ip_network(value)  # its ValueError says what is wrong
        return value


class ReceiveTLS(Section):
    """A second, encrypted port; 0 is off. Certificates are PEM files."""

    port: int = Field(0, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    expiry_warning_days: int = Field(30, ge=0)


class CommitmentSCP(Section):
    """Storage commitment for senders, relayed to ``archive``, the name of a destination; empty refuses it."""

    archive: str = ""
    timeout_seconds: float = Field(3600.0, gt=0)


class ReceiveSection(Section):
    """How instances are taken in."""

    engine: Literal["fast", "standard"] = "fast"
    processes: int = Field(1, ge=1, le=16)
    allowed_peers: tuple[Peer, ...] = (Peer(),)
    require_called_ae_title: bool = False
    max_associations: int = Field(50, ge=1)
    max_associations_per_peer: int = Field(30, ge=1)
    max_pdu: int = Field(131072, ge=4096)
    network_timeout_seconds: float = Field(60.0, gt=0)
    min_free_disk_mb: int = Field(1024, ge=0)
    low_disk_mb: int | None = Field(None, ge=0)
    private_sop_classes: tuple[str, ...] = ()
    query_retrieve: bool = True
    storage_commitment: CommitmentSCP = CommitmentSCP()
    tls: ReceiveTLS = ReceiveTLS()

    @property
    def low_disk_watermark_mb(self) -> int:
        """``low_disk_mb``, or its default: twice ``min_free_disk_mb``."""
        return 2 * self.min_free_disk_mb if self.low_disk_mb is None else self.low_disk_mb


class StudySource(Section):
    """The archive that is asked with C-FIND how many instances a study has; an empty AE title asks nobody."""

    ae_title: str = Field("", max_length=16)
    host: str = ""
    port: int = Field(0, ge=0, le=65535)
    ask_again_seconds: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def can_be_called(self) -> StudySource:
        if self.ae_title and not (self.host and self.port):
            raise ValueError("needs host and port to be asked at")
        return self


class StudySection(Section):
    """When a study is complete, and what it is worth."""

    quiet_seconds: float = Field(5.0, gt=0)
    series_quiet_seconds: float = Field(1.0, gt=0)
    forced_seconds: float = Field(600.0, gt=0)
    historical_hours: float = Field(48.0, gt=0)
    max_versions_per_day: int = Field(10, ge=1)
    source: StudySource = StudySource()


class TriageModelSection(Section):
    """The MedSigLIP checkpoint: ``demo``, a local directory, or a hub id."""

    checkpoint: str = "demo"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int = Field(1, ge=1)
    max_images: int = Field(32, ge=1)
    early_images: int = Field(8, ge=1)


class FindingsModelSection(Section):
    """The MedGemma checkpoint; ``none`` turns findings off."""

    backend: Literal["transformers", "none"] = "transformers"
    checkpoint: str = "demo"
    url: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class ModelsSection(Section):
    """Checkpoints and what an unvalidated or demo one may do."""

    triage: TriageModelSection = TriageModelSection()
    findings: FindingsModelSection = FindingsModelSection()
    allow_demo_delivery: bool = False
    allow_unvalidated: bool = False


class Match(Section):
    """Which studies a pipeline takes; an empty list matches anything."""

    modalities: tuple[str, ...] = ("CR", "DX")
    body_parts: tuple[str, ...] = ("CHEST", "THORAX")
    calling_ae_titles: tuple[str, ...] = ()


class PipelineSection(Section):
    """What is done with matching studies. Empty ``reports`` and ``destinations`` mean all configured."""

    name: str = "chest-xray"
    match: Match = Match()
    prompt_set: str = "demo-chest"
    findings_prompt: str = "demo-chest-findings"
    reports: tuple[ReportKind, ...] = ()
    destinations: tuple[str, ...] = ()


class ReportsSection(Section):
    """Which objects are written, and how much of the findings model they may carry."""

    profile: ReportProfile | None = None
    kinds: tuple[ReportKind, ...] = (ReportKind.MEASUREMENT, ReportKind.TEXT)
    language: Literal["en", "ko"] = "en"


class Destination(Section):
    """A PACS that receives the reports."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    kind: Literal["dicom"] = "dicom"
    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)
    tls: bool = False
    storage_commitment: bool = False

    @field_validator("tls")
    @classmethod
    def not_built(cls, value: bool) -> bool:
        if value:
            raise ValueError("TLS to a destination is not available in this version")
        return value


class Callback(Section):
    """An application entity the node may call: C-MOVE destinations, and who asked for storage commitment."""

    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)


class DeliverySection(Section):
    """When a failed delivery is tried again; the last value repeats ``last_repeats`` times."""

    retry_seconds: tuple[float, ...] = (2, 10, 60, 300, 900, 3600, 14400)
    last_repeats: int = Field(10, ge=0)
    commitment_timeout_seconds: float = Field(60.0, gt=0)
    historical: bool = False

    @field_validator("retry_seconds")
    @classmethod
    def positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0:
            raise ValueError("needs at least one delay, none negative")
        return value


class RetentionSection(Section):
    """When received instances are removed; 0 days keeps them for ever."""

    days: int = Field(0, ge=0)
    min_free_mb: int = Field(0, ge=0)


class WorklistSection(Section):
    """Who else is told about the order of the worklist; nobody in this version."""

    hl7: Off = None
    fhir: Off = None
    ups: Off = None
    webhook: Off = None


class WebSection(Section):
    """Where pages and API listen."""

    host: str = "127.0.0.1"
    port: int = Field(8042, ge=0, le=65535)


class AuditSection(Section):
    """How long audit events are kept (0 is for ever), and where else they go: nowhere in this version."""

    retention_days: int = Field(0, ge=0)
    syslog: Off = None


class Config(BaseSettings):
    """All settings of one node."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="AINODE__", env_nested_delimiter="__"
    )

    node: NodeSection = NodeSection()
    database: DatabaseSection = DatabaseSection()
    receive: ReceiveSection = ReceiveSection()
    study: StudySection = StudySection()
    models: ModelsSection = ModelsSection()
    pipelines: tuple[PipelineSection, ...] = Field((PipelineSection(),), min_length=1)
    reports: ReportsSection = ReportsSection()
    destinations: tuple[Destination, ...] = ()
    peers: tuple[Callback, ...] = ()
    delivery: DeliverySection = DeliverySection()
    retention: RetentionSection = RetentionSection()
    priors: Off = None
    worklist: WorklistSection = WorklistSection()
    web: WebSection = WebSection()
    audit: AuditSection = AuditSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def names_are_known(self) -> Config:
        names = [destination.name for destination in self.destinations]
        for section, used in ("destinations", names), ("pipelines", [pipeline.name for pipeline in self.pipelines]):
            if len(set(used)) != len(used):
                raise ValueError(f"{section}: two have the same name in {used}")
        for pipeline in self.pipelines:
            unknown = set(pipeline.destinations) - set(names)
            if unknown:
                raise ValueError(f"pipelines.{pipeline.name}.destinations: {sorted(unknown)} not in destinations")
        return self

    @model_validator(mode="after")
    def commitment_has_an_archive(self) -> Config:
        archive = self.receive.storage_commitment.archive
        if archive and archive not in {one.name for one in self.destinations}:
            raise ValueError(f"receive.storage_commitment.archive: {archive!r} is not in destinations")
        return self

    @model_validator(mode="after")
    def clinical_use_is_validated(self) -> Config:
        if self.models.allow_unvalidated and self.node.intended_use is IntendedUse.CLINICAL:
            raise ValueError("models.allow_unvalidated: true is for research only; node.intended_use is clinical")
        return self

    @property
    def profile(self) -> ReportProfile:
        """``reports.profile``, or its default: draft_report in research, triage_only in clinical use."""
        if self.reports.profile is not None:
            return self.reports.profile
        clinical = self.node.intended_use is IntendedUse.CLINICAL
        return ReportProfile.TRIAGE_ONLY if clinical else ReportProfile.DRAFT_REPORT


def load(path: Path | None = None) -> Config:
    """Read ``path`` (or only defaults and environment) and make every path absolute.

    Raises:
        ConfigurationError: naming the YAML path, the value, and what is expected.
    """
    values = _read(path) if path is not None else {}
    base = (path.resolve().parent if path is not None else Path.cwd())
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigurationError(_explain(path, error)) from error
    except SettingsError as error:
        raise ConfigurationError(f"environment: {error}; a list is given as JSON") from error
    return _anchored(config, base)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name a file with --config") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {_masked(str(error))}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected sections such as 'node:', found {type(values).__name__}")
    return values


def _explain(path: Path | None, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "configuration"
        # What a model as a whole was given is left out: all settings at once help nobody, and hold passwords.
        whole = problem["type"] == "missing" or not problem["loc"]
        shown = "" if whole else f" = {_masked(repr(problem['input']))}"
        lines.append(f"{path or 'defaults'}: {where}{shown}: {_masked(problem['msg'])}")
    return "\n".join(lines)


def _masked(text: str) -> str:
    return PASSWORD.sub("://***@", text)


def _anchored(config: Config, base: Path) -> Config:
    node = config.node.model_copy(update={"data_dir": (base / config.node.data_dir).resolve()})
    url = config.database.url or f"sqlite:///{node.data_dir / 'node.sqlite'}"
    prefix = "sqlite:///"
    if url.startswith(prefix):
        url = f"{prefix}{(base / url.removeprefix(prefix)).resolve()}"
    tls = config.receive.tls
    files = {
        name: (base / value).resolve() for name in ("certificate", "key", "ca") if (value := getattr(tls, name))
    }
    receive = config.receive.model_copy(update={"tls": tls.model_copy(update=files)})
    models = config.models.model_copy(update={
        "triage": config.models.triage.model_copy(
            update={"checkpoint": _checkpoint(config.models.triage.checkpoint, base)}),
        "findings": config.models.findings.model_copy(
            update={"checkpoint": _checkpoint(config.models.findings.checkpoint, base)}),
    })
    pipelines = tuple(
        one.model_copy(update={"prompt_set": _prompts(one.prompt_set, base),
                               "findings_prompt": _prompts(one.findings_prompt, base)})
        for one in config.pipelines)
    database = DatabaseSection(url=url)
    return config.model_copy(update={
        "node": node, "database": database, "receive": receive, "models": models, "pipelines": pipelines})


def _prompts(value: str, base: Path) -> str:
    """A file becomes absolute; the names of shipped ones stay."""
    return str((base / Path(value).expanduser()).resolve()) if names_a_file(value) else value


def names_a_file(value: str) -> bool:
    """If a prompt set or findings prompt is told by its path: it has a slash, or ends as YAML files do."""
    return "/" in value or value.endswith((".yaml", ".yml"))


def _checkpoint(value: str, base: Path) -> str:
    """A path (``./x``, ``/x``, or one that exists) becomes absolute; ``demo`` and hub ids stay."""
    looks_like_path = value.startswith((".", "/", "~")) or (base / value).is_dir()
    return str((base / Path(value).expanduser()).resolve()) if looks_like_path and value != "demo" else value
