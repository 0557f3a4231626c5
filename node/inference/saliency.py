"""Relevance maps of a SigLIP vision tower, in logits of one finding, on a grid of cells."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.inference.batching import Turn
from node.inference.preprocessing import normalised
from node.inference.torch_runtime import working_device
from node.inference.tower import VisionTower

#: Cells per side of the grid that occlusion works on at most: 225 windows, whatever the number of patches.
LARGEST_GRID = 16
#: Areas taken away whose two images exist at once.
_AT_ONCE = 32

Square = NDArray[np.uint8]
"""(side, side, 3) as the tower takes it."""
Grid = NDArray[np.float64]
"""(g, g), in logits."""


class Saliency:
    """One tower asked about one direction, (D,): a normalised image vector times it is the logit of a finding.

    ``score`` is that of the whole image, in 0..1.
    """

    def __init__(self, vision: VisionTower, direction: Tensor, square: Square, turn: Turn = nullcontext) -> None:
        self._turn = turn
        self._vision, self._direction, self._square = vision, direction.float().cpu(), square
        config = vision.module.config
        self._side, self._patch = int(config.image_size), int(config.patch_size)
        self.patches = self._side // self._patch
        self._blurred = blurred(square)
        self._whole = self._logits([square])[0]
        self.score = float(1 / (1 + np.exp(-self._whole)))

    def drops(self, areas: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
        """What the logit loses when each area, marked on a grid (g, g) of any size, is taken away.

        The mean of two ways, blurred and black: what is evenly dense stays so when blurred, what is dark when black.
        """
        lost: list[NDArray[np.float64]] = []
        for start in range(0, len(areas), _AT_ONCE):
            part = [without for area in areas[start : start + _AT_ONCE] for without in self._without(area)]
            lost.append(self._whole - self._logits(part).reshape(-1, 2).mean(axis=1))
        return np.concatenate(lost)

    def occlusion(self) -> Grid:
        """Per cell, the mean loss over the windows of two by two cells that cover it; windows step by one cell."""
        size = self.patches // -(-self.patches // LARGEST_GRID)
        windows = [_window(size, row, column) for row in range(size - 1) for column in range(size - 1)]
        lost = self.drops(windows)
        covered = np.stack(windows).astype(np.float64)
        return np.asarray(np.tensordot(lost, covered, axes=1) / covered.sum(axis=0))

    def single_token(self) -> Grid:
        """Per patch, the logit that its final token alone would give."""
        with self._turn(), torch.inference_mode(), working_device("explainer"):
            tokens = self._tokens()[0].unsqueeze(1)
            alone = functional.normalize(self._vision.module.head(tokens).float(), dim=-1)
            return self._grid(alone.cpu() @ self._direction)

    def grad_cam(self) -> Grid:
        """Per patch, gradient of the logit by its final token times the token, summed; only gains are kept."""
        with self._turn(), torch.inference_mode(), working_device("explainer"):
            tokens = self._tokens()
        with self._turn(), torch.inference_mode(mode=False), torch.enable_grad(), working_device("explainer"):
            leaf = tokens.clone().requires_grad_(True)
            vector = functional.normalize(self._vision.module.head(leaf).float(), dim=-1)
            (gradient,) = torch.autograd.grad((vector @ self._direction.to(vector.device)).sum(), leaf)
            return self._grid((gradient * leaf).sum(dim=-1)[0].detach().float().cpu().clamp(min=0))

    def _tokens(self) -> Tensor:
        """Final tokens (1, patches, D) after the last layer norm."""
        module: Any = self._vision.module
        mean, std = self._vision.normalisation
        pixels = torch.from_numpy(np.ascontiguousarray(self._square))[None].to(self._vision.device)
        answer: Tensor = module(pixel_values=normalised(pixels, mean, std).to(module.dtype)).last_hidden_state
        return answer

    def _grid(self, values: Tensor) -> Grid:
        return values.reshape(self.patches, self.patches).numpy().astype(np.float64)

    def _logits(self, squares: Sequence[Square]) -> NDArray[np.float64]:
        """Batch by batch, each in its turn."""
        step, vectors = self._vision.max_batch, []
        for at in range(0, len(squares), step):
            with self._turn():
                vectors.append(self._vision.vectors(squares[at : at + step]))
        return (torch.cat(vectors).float() @ self._direction).numpy().astype(np.float64)

    def _without(self, area: NDArray[np.bool_]) -> tuple[Square, Square]:
        pixels = enlarged(area, self._side)[:, :, None]
        return np.where(pixels, self._blurred, self._square), np.where(pixels, np.uint8(0), self._square)


def blurred(square: Square) -> Square:
    """Means over boxes of about half the side, mirrored at the border: nothing of a finding's size is left."""
    planes = torch.from_numpy(np.ascontiguousarray(square)).permute(2, 0, 1)[None].float()
    reach = max(1, square.shape[0] // 4)
    mirrored = functional.pad(planes, (reach,) * 4, mode="reflect")
    means = functional.avg_pool2d(mirrored, 2 * reach + 1, stride=1)
    return np.asarray(means[0].permute(1, 2, 0).round().to(torch.uint8).numpy())


def enlarged(area: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """A marked grid (g, g) as marked pixels (side, side)."""
    cells = np.arange(side) * len(area) // side
    return area[np.ix_(cells, cells)]


def smooth(grid: Grid, side: int) -> NDArray[np.float32]:
    """A grid (g, g) drawn out bilinearly to (side, side)."""
    values = torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32))[None, None]
    drawn = functional.interpolate(values, (side, side), mode="bilinear", align_corners=False)
    return np.asarray(drawn[0, 0].numpy(), dtype=np.float32)


def _window(size: int, row: int, column: int) -> NDArray[np.bool_]:
    window = np.zeros((size, size), dtype=bool)
    window[row : row + 2, column : column + 2] = True
    return window
