"""Settings: frozen values, read once at start from ``config.yaml`` and the environment.

``AINODE__SECTION__KEY`` in the environment overrides the file; an omitted key has the
default written here, and ``config.yaml`` states the same defaults. Relative paths are
relative to the configuration file.
"""

from node.config.analysis import (
    FindingsModelSection,
    Match,
    ModelServer,
    ModelsSection,
    PipelineSection,
    TriageModelSection,
)
from node.config.delivery import Callback, DeliverySection, Destination, ReportsSection
from node.config.installation import (
    AuditSection,
    DatabaseSection,
    NodeSection,
    RetentionSection,
    WebSection,
    WorklistSection,
)
from node.config.loading import load, names_a_file
from node.config.priors import PriorSource
from node.config.receiving import CommitmentSCP, Peer, ReceiveSection, ReceiveTLS, StudySection, StudySource
from node.config.settings import Config

__all__ = [
    "AuditSection", "Callback", "CommitmentSCP", "Config", "DatabaseSection", "DeliverySection", "Destination",
    "FindingsModelSection", "Match", "ModelServer", "ModelsSection", "NodeSection", "Peer", "PipelineSection",
    "PriorSource", "ReceiveSection", "ReceiveTLS", "ReportsSection", "RetentionSection", "StudySection", "StudySource",
    "TriageModelSection", "WebSection", "WorklistSection", "load", "names_a_file",
]
