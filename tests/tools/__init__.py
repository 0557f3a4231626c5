"""Real peers and small helpers for the tests."""
