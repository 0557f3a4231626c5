"""A site's own prompt sets and pipelines, made of the demo's findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from node.inference.prompt_sets import load_prompt_set

SHIPPED = Path(__file__).parents[2] / "node/inference/prompts/demo-chest.yaml"


def pipeline_for(modality: str, folder: Path) -> dict[str, Any]:
    """A section of ``pipelines`` that takes this modality, whatever it shows."""
    told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    told["eligibility"] |= {"modalities": [modality], "body_parts": [], "views": []}
    own = folder / f"our-{modality.lower()}.yaml"
    own.write_text(yaml.safe_dump(told), encoding="utf-8")
    return {"name": modality, "match": {"modalities": [modality], "body_parts": []}, "prompt_set": str(own)}


def inverted(folder: Path) -> Path:
    """A copy of the demo prompt set for any body part, in which other words for the first finding say the contrary."""
    told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    told["eligibility"] |= {"body_parts": []}
    own = load_prompt_set("demo-chest").findings[0]
    told["findings"][0]["paraphrase"] = {"positive": list(own.negative), "negative": list(own.positive)}
    (folder / "inverted.yaml").write_text(yaml.safe_dump(told | {"name": "inverted"}), encoding="utf-8")
    return folder / "inverted.yaml"
