"""Parts of ``benchmarks/findings.py``."""
