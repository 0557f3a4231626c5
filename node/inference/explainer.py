"""Explains a triage score: a relevance map, and whether it may be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from node.domain import ModelIdentity, ModelImage, OperatingPoint, Relevance, RelevanceMethod
from node.errors import ConfigurationError, ModelOutputError
from node.inference.batching import Turn
from node.inference.deletion import check
from node.inference.preprocessing import model_pixels
from node.inference.saliency import Saliency, smooth
from node.inference.tower import VisionTower


class SigLIPExplainer:
    """Relevance maps of the tower that a triage model scores with; implements ``interfaces.Explainer``."""

    def __init__(
        self, *, vision: VisionTower, keys: Sequence[str], contrast: Tensor, side: int, resize: str,
        identity: ModelIdentity, method: RelevanceMethod, points: Mapping[str, OperatingPoint],
        turn: Turn = nullcontext,
    ) -> None:
        """``turn`` is entered around every batch on the device."""
        self.identity, self.method = identity, method
        self._vision, self._keys, self._contrast = vision, tuple(keys), contrast
        self._side, self._resize, self._turn, self._points = side, resize, turn, points

    def explain(self, image: ModelImage, finding: str) -> Relevance:
        """The map of one finding on one image, and what the deletion check says of it. Thread-safe.

        Raises:
            ConfigurationError: the prompt set has no such finding.
            Undecodable: the image is not a uint8 RGB square.
            ModelOutputError: the model answered with something that is no number.
            DeviceFull: the memory does not suffice for one image.
            DeviceLost: the accelerator does not work any more in this process.
        """
        if finding not in self._keys:
            raise ConfigurationError(f"finding {finding!r}: not in the prompt set; it has {', '.join(self._keys)}")
        square = model_pixels(image, self._side, self._resize)
        saliency = Saliency(self._vision, self._contrast[:, self._keys.index(finding)], square, self._turn)
        grid = self._grid(saliency)
        deletion = check(grid, picture_cells(image, len(grid)), saliency.drops)
        absent = self._absent(finding, saliency.score)
        told = np.array([*grid.ravel(), deletion.drop, deletion.needed, deletion.random_drop])
        if not np.isfinite(told).all():
            raise ModelOutputError(f"{self.identity.name}: the relevance of {finding} is not a number")
        return Relevance(
            finding=finding, method=self.method, model=self.identity, cells=grid.astype(np.float32),
            map=smooth(grid, len(image.pixels)), deletion_drop=deletion.drop, needed_drop=deletion.needed,
            random_drop=deletion.random_drop, reliable=deletion.reliable and not absent,
            reason=absent or deletion.reason,
        )

    def _absent(self, finding: str, score: float) -> str:
        """Why there is nothing to localise: the check asks what the score rests on, not whether it is high."""
        point = self._points.get(finding)
        if point is None or not score < point.absent_below:
            return ""
        return (f"no reliable localisation: the score of this image is {score:.2f}, and below "
                f"{point.absent_below:.2f} nothing speaks for the finding")

    def _grid(self, saliency: Saliency) -> NDArray[np.float64]:
        match self.method:
            case RelevanceMethod.OCCLUSION:
                return saliency.occlusion()
            case RelevanceMethod.SINGLE_TOKEN:
                return saliency.single_token()
            case RelevanceMethod.GRAD_CAM:
                return saliency.grad_cam()


def picture_cells(image: ModelImage, size: int) -> NDArray[np.bool_]:
    """Cells of a grid (size, size) whose centre is in the picture and not in the padding."""
    centres = (np.arange(size) + 0.5) / size
    rows, columns = np.ones(size, dtype=bool), np.ones(size, dtype=bool)
    for step in image.transforms:
        if step.name == "pad":
            told = step.parameters
            rows = _within(centres * told["side"], told["top"], told["rows"])
            columns = _within(centres * told["side"], told["left"], told["columns"])
    return np.asarray(rows[:, None] & columns)


def _within(at: NDArray[np.float64], start: int, length: int) -> NDArray[np.bool_]:
    return (at >= start) & (at < start + length)
