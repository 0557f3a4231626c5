"""How good the findings model is: unconstrained greedy answers, compared with what was drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.vocabulary import NAMES, Seen, answer

_KEYS = {"finding", "presence", "side", "certainty"}
_VALUES = {
    "finding": {names[0] for names in NAMES.values()},
    "presence": {"present", "absent", "undetermined"},
    "side": {"left", "right", "both", "none"},
    "certainty": {"definite", "probable", "possible"},
}


def prompt_ids(processor: Any, instruction: str) -> list[int]:
    """The one user turn, image before text, with the image's placeholders in it."""
    content = [{"type": "image", "image": Image.new("RGB", (96, 96))}, {"type": "text", "text": instruction}]
    turn = [{"role": "user", "content": content}]
    encoded = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=True)
    ids: list[int] = encoded["input_ids"][0]
    return ids


@torch.inference_mode()
def answers(model: Any, processor: Any, instruction: str, pixels: Tensor, limit: int, batch: int = 50) -> list[str]:
    """Greedy answers to pixels (N, 3, SIZE, SIZE) in -1..1, nothing constrained."""
    prompt = torch.tensor(prompt_ids(processor, instruction))
    told: list[str] = []
    for part in torch.split(pixels, batch):
        ids = prompt.expand(len(part), -1)
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            token_type_ids=(ids == processor.image_token_id).long(),
            pixel_values=part,
            max_new_tokens=limit,
            do_sample=False,
        )
        told += processor.batch_decode(made[:, len(prompt) :], skip_special_tokens=True)
    return told


def parsed(text: str) -> list[dict[str, str]] | None:
    """The findings of an answer, or None when it is not exactly of the agreed shape."""
    try:
        told = json.loads(text)
    except ValueError:
        return None
    if not isinstance(told, dict) or list(told) != ["findings", "impression", "recommendation"]:
        return None
    if not isinstance(told["findings"], list) or not all(_well_formed(item) for item in told["findings"]):
        return None
    findings: list[dict[str, str]] = told["findings"]
    return findings


def _well_formed(item: object) -> bool:
    return isinstance(item, dict) and set(item) == _KEYS and all(item[key] in _VALUES[key] for key in _KEYS)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Counts of one comparison of answers with the truth."""

    counts: Counter[str]

    def share(self, part: str, whole: str) -> float:
        """A ratio of two counts, 0 when there was nothing to count."""
        return round(self.counts[part] / max(1, self.counts[whole]), 4)

    def f1(self, finding: str = "all") -> float:
        """F1 of "present" for a finding, or over all of them (micro)."""
        hit, missed, invented = (self.counts[f"{kind} {finding}"] for kind in ("hit", "missed", "invented"))
        return round(2 * hit / max(1, 2 * hit + missed + invented), 4)

    def summary(self) -> dict[str, Any]:
        """The numbers that are published."""
        return {
            "n": self.counts["n"],
            "valid_json": self.share("valid", "n"),
            "exact_match": self.share("exact", "n"),
            "micro_f1": self.f1(),
            "side_accuracy": self.share("side right", "side told"),
            "certainty_accuracy": self.share("certainty right", "hit all"),
            "impression_matches_findings": self.share("impression right", "valid"),
            "f1": {finding: self.f1(finding) for finding in FINDINGS},
            "side_accuracy_by_finding": {
                finding: self.share(f"side right {finding}", f"hit {finding}") for finding in LATERALISED
            },
        }


def compare(texts: Sequence[str], truths: Sequence[Sequence[Seen]]) -> Agreement:
    """Count what the answers say against what an ideal reader would list."""
    counts: Counter[str] = Counter(n=len(texts))
    for text, truth in zip(texts, truths, strict=True):
        findings = parsed(text)
        counts["valid"] += findings is not None
        counts["exact"] += text == answer(truth)
        told = {item["finding"]: item for item in findings or [] if item["presence"] == "present"}
        drawn = {item.finding: item for item in truth}
        if findings is not None:
            counts["impression right"] += _says_its_findings(text, told)
        for finding in FINDINGS:
            _count(counts, finding, told.get(NAMES[finding][0]), drawn.get(finding))
    return Agreement(counts=counts)


def _says_its_findings(text: str, told: dict[str, dict[str, str]]) -> bool:
    """Whether the sentence names exactly the findings listed above it."""
    sentence = str(json.loads(text)["impression"]).lower()
    return {names[0] for names in NAMES.values() if names[0] in sentence} == set(told)


def _count(counts: Counter[str], finding: str, told: dict[str, str] | None, drawn: Seen | None) -> None:
    if told and drawn:
        outcome = "hit"
        if finding in LATERALISED:
            right = told["side"] == drawn.side
            counts["side told"] += 1
            counts["side right"] += right
            counts[f"side right {finding}"] += right
        counts["certainty right"] += told["certainty"] == drawn.certainty
    elif told or drawn:
        outcome = "invented" if told else "missed"
    else:
        return
    counts[f"{outcome} {finding}"] += 1
    counts[f"{outcome} all"] += 1
