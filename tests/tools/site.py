"""A site's own prompt set and pipeline: the demo's findings for images of another modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).parents[2] / "node/inference/prompts/demo-chest.yaml"


def pipeline_for(modality: str, folder: Path) -> dict[str, Any]:
    """A section of ``pipelines`` that takes this modality, whatever it shows."""
    told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    told["eligibility"] |= {"modalities": [modality], "body_parts": [], "views": []}
    own = folder / f"our-{modality.lower()}.yaml"
    own.write_text(yaml.safe_dump(told), encoding="utf-8")
    return {"name": modality, "match": {"modalities": [modality], "body_parts": []}, "prompt_set": str(own)}
