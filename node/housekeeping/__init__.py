"""Keeping the store: what may be removed and when, and whether files and rows still agree."""
