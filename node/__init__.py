"""A DICOM AI node: studies in by C-STORE, triage and findings, Structured Reports back to PACS."""

__version__ = "0.1.0"
