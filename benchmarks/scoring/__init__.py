"""Parts of ``benchmarks/triage.py``."""
