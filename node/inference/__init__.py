"""Models that look at images: which checkpoint, which prompts, which cut-offs, and the answers they may give.

torch and transformers are imported by `medsiglip`, `medgemma` and what they stand on; the rest does without.
"""
