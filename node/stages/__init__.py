"""The stages of the clinical sequence, one module per kind of work. Their order is in ``node/pipeline.py``."""
