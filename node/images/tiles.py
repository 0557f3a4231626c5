"""One level of a slide as one large picture, of which rectangles are read without decoding the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import NotEvaluable, Undecodable
from node.images.colour import Pixels
from node.images.files import StoredImage
from node.images.levels import Level
from node.images.picture import Screen
from node.images.pixels import border, frame, number, text, value

GLASS = 255
"""What lies where no tile is: white, as empty glass is."""
MOST_SPARSE_FRAMES = 65_536
MOST_FRAMES = 4_000_000
MOST_OVERVIEW_TILES = 400
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TileIndex:
    """Where each frame of the first optical path and focal plane lies: its first row and column, counted from 0."""

    tops: Numbers
    lefts: Numbers
    frames: Numbers

    def within(self, top: int, left: int, bottom: int, right: int, level: Level) -> Numbers:
        """Places in the index of the tiles that share a pixel with the rectangle, ``bottom`` and ``right`` outside."""
        rows = (self.tops < bottom) & (self.tops + level.tile_rows > top)
        return np.flatnonzero(rows & (self.lefts < right) & (self.lefts + level.tile_columns > left))

    def at(self, place: int) -> tuple[int, int, int]:
        """First row, first column and frame number, which counts from 1."""
        return int(self.tops[place]), int(self.lefts[place]), int(self.frames[place])

    def stride(self, most: int) -> int:
        """Every which tile to take in both directions, so that about ``most`` are left."""
        return max(1, ceil(sqrt(len(self.frames) / most)))

    def every(self, stride: int, level: Level) -> Numbers:
        """Places of every ``stride``-th tile in both directions, tiles outside the Total Pixel Matrix left out."""
        inside = (self.tops >= 0) & (self.lefts >= 0) & (self.tops < level.rows) & (self.lefts < level.columns)
        rows = self.tops // level.tile_rows % stride == 0
        return np.flatnonzero(inside & rows & (self.lefts // level.tile_columns % stride == 0))


def index_of(level: Level, head: Dataset) -> TileIndex:
    """The tiles of a level in either Dimension Organization (PS3.3 C.7.6.17.3).

    Raises:
        NotEvaluable: there are fewer frames than tiles, or too many to be listed one by one.
        Undecodable: the position of a frame cannot be read.
    """
    if level.frames > MOST_FRAMES:
        raise NotEvaluable(f"{level.frames} frames, more than {MOST_FRAMES}")
    if level.sparse:
        if level.frames > MOST_SPARSE_FRAMES:
            raise NotEvaluable(f"{level.frames} frames with positions of their own, more than {MOST_SPARSE_FRAMES}")
        with border("the positions of the tiles cannot be read"):
            return _listed(head)
    across, down = -(-level.columns // level.tile_columns), -(-level.rows // level.tile_rows)
    if level.frames < across * down:
        raise NotEvaluable(f"{level.frames} frames for {across * down} tiles")
    places = np.arange(across * down, dtype=np.int64)
    return TileIndex(tops=places // across * level.tile_rows, lefts=places % across * level.tile_columns,
                     frames=places + 1)


def _listed(head: Dataset) -> TileIndex:
    """By Plane Position (Slide) of each frame; other optical paths and focal planes than the first are left aside."""
    found: list[tuple[int, int, int]] = []
    first: tuple[str, float] | None = None
    for place, item in enumerate(value(head, "PerFrameFunctionalGroupsSequence") or (), start=1):
        position = (value(item, "PlanePositionSlideSequence") or (Dataset(),))[0]
        paths = value(item, "OpticalPathIdentificationSequence")
        plane = (text(paths[0], "OpticalPathIdentifier") if paths else "",
                 round(float(value(position, "ZOffsetInSlideCoordinateSystem") or 0.0), 6))
        first = first or plane
        if plane == first:
            row, column = (number(position, f"{axis}PositionInTotalImagePixelMatrix") for axis in ("Row", "Column"))
            if row is None or column is None:
                raise Undecodable(f"frame {place} has no position in the Total Pixel Matrix")
            found.append((row - 1, column - 1, place))
    if not found:
        raise Undecodable("no frame has a position")
    columns = np.array(found, dtype=np.int64).T
    return TileIndex(tops=columns[0], lefts=columns[1], frames=columns[2])


@dataclass(frozen=True, kw_only=True)
class Region:
    """A rectangle of a level: (rows, columns, 3), the frames it took and how they were shown."""

    pixels: Pixels
    frames: tuple[int, ...]
    steps: tuple[Transform, ...]


class TiledLevel:
    """An open level; frames are decoded when a rectangle needs them, one at a time."""

    def __init__(self, file: StoredImage, level: Level, *, to_srgb: bool = True) -> None:
        self.level, self.head = level, file.head
        self._file, self._index = file, index_of(level, file.head)
        self._screen = Screen(file.head, to_srgb=to_srgb)

    def region(self, top: int, left: int, side: int) -> Region:
        """A square of ``side`` pixels, glass where the level ends or has no tile.

        Raises:
            Undecodable: a frame cannot be decoded.
        """
        canvas = np.full((side, side, 3), GLASS, dtype=np.uint8)
        bottom, right = min(top + side, self.level.rows), min(left + side, self.level.columns)
        used = self._index.within(top, left, bottom, right, self.level)
        steps: list[Transform] = []
        for place in used:
            tile_top, tile_left, number_of_frame = self._index.at(place)
            pixels, steps = self._tile(number_of_frame)
            first_row, first_column = max(tile_top, top), max(tile_left, left)
            last_row, last_column = min(tile_top + len(pixels), bottom), min(tile_left + pixels.shape[1], right)
            canvas[first_row - top : last_row - top, first_column - left : last_column - left] = pixels[
                first_row - tile_top : last_row - tile_top, first_column - tile_left : last_column - tile_left]
        return Region(pixels=canvas, frames=tuple(self._index.frames[used].tolist()), steps=tuple(steps))

    def overview(self, longest: int) -> Pixels:
        """The level with at most ``longest`` pixels a side, from tiles made small one by one.

        Of more than MOST_OVERVIEW_TILES every second, third, ... in both directions stands for its neighbours.

        Raises:
            Undecodable: no tile can be decoded.
        """
        level = self.level
        step = -(-max(level.rows, level.columns) // longest)
        canvas = np.full((-(-level.rows // step), -(-level.columns // step), 3), GLASS, dtype=np.uint8)
        stride = self._index.stride(MOST_OVERVIEW_TILES)
        failure, shown = Undecodable("the level has no tile"), 0
        for place in self._index.every(stride, level):
            top, left, number_of_frame = self._index.at(place)
            try:
                pixels, _ = self._tile(number_of_frame)
            except Undecodable as error:
                failure = error
                continue
            shown += 1
            whole = pixels[: level.rows - top, : level.columns - left]
            small = np.tile(np.asarray(Image.fromarray(np.ascontiguousarray(whole)).reduce(step)), (stride, stride, 1))
            room = canvas[top // step :, left // step :]
            height, width = min(len(small), len(room)), min(small.shape[1], room.shape[1])
            room[:height, :width] = small[:height, :width]
        if not shown:
            raise failure
        return canvas

    def _tile(self, number_of_frame: int) -> tuple[Pixels, list[Transform]]:
        return self._screen(frame(self._file, number_of_frame - 1), self.head)
