"""The self-test of a prompt set on a checkpoint, at load: other words for the same must not turn its scores round.

A contrast is the direction from a finding's negative to its positive text vector. Small text towers, and prompts
nobody tried, can point it the wrong way; a score would then be high where nothing is. What fails is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.domain import ModelImage, PromptSet
from node.errors import PromptSetRefused

#: Least cosine of a paraphrase's contrast with the set's own. Random directions of 768 numbers or more stay
#: below it with a probability of 99 %; the same thing in other words should be far above.
AGREES = 0.1
#: Cosine from which a finding's positive and negative prompts are the same to the model.
SAME = 0.9999

Vectors = NDArray[np.float32]


def check_contrasts(prompt_set: PromptSet, positive: Vectors, negative: Vectors) -> None:
    """Refuse prompts that are all the same to the model. Vectors (F, D) are normalised, in the order of the findings.

    Raises:
        PromptSetRefused: naming the finding and its cosine.
    """
    for finding, cosine in zip(prompt_set.findings, (positive * negative).sum(axis=-1).tolist(), strict=True):
        if not cosine < SAME:
            raise PromptSetRefused(
                f"prompt set {prompt_set.name!r}, finding {finding.key!r}: positive and negative prompts are the same "
                f"to this checkpoint (cosine {cosine:.5f}); use words it was trained on")


def check_paraphrase(prompt_set: PromptSet, key: str, own: Vectors, other: Vectors) -> None:
    """Refuse a paraphrase whose contrast (D,) does not go with the finding's own (D,).

    Raises:
        PromptSetRefused: naming the finding and the cosine.
    """
    length = float(np.linalg.norm(own) * np.linalg.norm(other))
    cosine = float(own @ other) / length if length > 0 else 0.0
    if not cosine >= AGREES:
        raise PromptSetRefused(
            f"prompt set {prompt_set.name!r}, finding {key!r}: said in other words its score "
            f"{'turns round' if cosine < 0 else 'becomes another'} with this checkpoint (cosine of the contrasts "
            f"{cosine:.2f}, at least {AGREES} is needed); use other prompts, or take the paraphrase out if it does "
            "not mean the same")


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Small images that come with a set: ``pixels`` (N, side, side) uint8, and what each shows, '' for nothing."""

    pixels: NDArray[np.uint8]
    shows: tuple[str, ...]

    def images(self) -> list[ModelImage]:
        """As a model takes them."""
        return [ModelImage(pixels=np.repeat(plane[..., None], 3, axis=2), sop_class_uid="", sop_instance_uid="",
                           series_instance_uid="") for plane in self.pixels]


def probes(file: Path | None) -> Probes | None:
    """The probe images in ``file``, an ``.npz`` with ``pixels`` and ``shows``; None when there is no such file.

    Raises:
        PromptSetRefused: the file is there and cannot be used.
    """
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            found = Probes(pixels=stored["pixels"], shows=tuple(str(key) for key in stored["shows"]))
    except (OSError, ValueError, KeyError) as error:
        raise PromptSetRefused(f"{file}: cannot be read as probe images ({error})") from error
    if found.pixels.dtype != np.uint8 or found.pixels.ndim != 3 or len(found.pixels) != len(found.shows):
        raise PromptSetRefused(f"{file}: expected pixels (N, side, side) of uint8 and shows (N), found "
                                 f"{found.pixels.dtype} {found.pixels.shape} and {len(found.shows)}")
    return found


def check_probes(prompt_set: PromptSet, shows: Sequence[str], scores: Sequence[Mapping[str, float]]) -> None:
    """Refuse a checkpoint that does not score an image that shows a finding above all images that do not.

    Raises:
        PromptSetRefused: naming the finding and both scores.
    """
    for key in sorted({each for each in shows if each}):
        found = [score[key] for shown, score in zip(shows, scores, strict=True) if shown == key]
        other = [score[key] for shown, score in zip(shows, scores, strict=True) if shown != key]
        if other and not min(found) > max(other):
            raise PromptSetRefused(
                f"prompt set {prompt_set.name!r}, finding {key!r}: the probe image that shows it scores "
                f"{min(found):.2f}, one that does not {max(other):.2f}; this checkpoint cannot be asked this way")
