"""The demonstration: drawn chests, two tiny models trained on them. Nothing here is medical."""
