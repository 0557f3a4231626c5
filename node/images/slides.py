"""A whole slide as tiles of tissue at the magnification a model was trained at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.domain import ModelImage, Transform
from node.errors import BadInput, NotEvaluable, Undecodable
from node.images.cines import even
from node.images.levels import Level, fitting, level_of, smallest
from node.images.picture import decoded_from
from node.images.pixels import load, text
from node.images.tiles import Region, TiledLevel
from node.images.tissue import mask_of, shares

MOST_TILES = 64
LEAST_TISSUE = 0.25
"""Share of a tile that has to be tissue; where no tile has that much, any with a trace will do."""
TRACE = 0.01
LONGEST_OVERVIEW = 2048


@dataclass(frozen=True, kw_only=True)
class Place:
    """A square of a level, in its pixels, with the share of tissue in it."""

    top: int
    left: int
    side: int
    tissue: float

    def number(self, columns: int) -> int:
        """Of the square on a level of so many columns of pixels, row by row from 1; the same whichever are chosen."""
        return self.top // self.side * -(-columns // self.side) + self.left // self.side + 1


def slide(
    paths: Sequence[Path], *, microns: float, patch: int, most: int = MOST_TILES, to_srgb: bool = True
) -> tuple[ModelImage, ...]:
    """At most ``most`` tiles of ``patch`` pixels a side, spread over the tissue, row by row.

    ``paths`` are the instances of one series, its levels; ``microns`` is micrometres per pixel of the tiles (2.0
    is 5x, 1.0 is 10x, 0.5 is 20x). Each tile carries its number, the frame at its middle and the transforms ``decode``,
    ``colour``, ``icc_profile`` where a profile is stated, and ``tile``.

    Raises:
        NotEvaluable: no level fits, the slide is not in colour, or there is no tissue on it.
        Undecodable: with the reason of the last tile, when none can be decoded.
        StorageError: a file cannot be read.
    """
    levels = levels_of(paths)
    level = fitting(levels, microns)
    if not level.colour:
        raise NotEvaluable("the slide is monochrome (fluorescence); models know stained tissue in colour")
    places = _places(level, _tissue(smallest(levels), to_srgb), round(patch * microns / level.microns))
    if not places:
        raise NotEvaluable("no tissue was found on the slide")
    chosen = [places[at] for at in even(0, len(places) - 1, most)]
    images: list[ModelImage] = []
    failure = Undecodable("no tile")
    with load(level.path) as file:
        tiled = TiledLevel(file, level, to_srgb=to_srgb)
        for place in chosen:
            try:
                region = tiled.region(place.top, place.left, place.side)
            except Undecodable as error:
                failure = error
                continue
            images.append(_image(tiled, region, place, patch, len(places)))
    if not images:
        raise failure
    return tuple(images)


def levels_of(paths: Sequence[Path]) -> list[Level]:
    """What each instance of the series is; those that cannot be used are left out while there are others."""
    levels: list[Level] = []
    refused: BadInput = NotEvaluable("the slide has no instances")
    for path in paths:
        try:
            with load(path) as file:
                levels.append(level_of(path, file.head))
        except BadInput as error:
            refused = error
    if not levels:
        raise refused
    return levels


def _tissue(level: Level, to_srgb: bool) -> NDArray[np.bool_]:
    with load(level.path) as file:
        return mask_of(TiledLevel(file, level, to_srgb=to_srgb).overview(LONGEST_OVERVIEW))


def _places(level: Level, mask: NDArray[np.bool_], side: int) -> list[Place]:
    """The squares of a grid from the upper left that hold tissue, row by row."""
    side = max(side, 1)
    tops, lefts = (each.reshape(-1) for each in np.mgrid[0 : level.rows : side, 0 : level.columns : side])
    tissue = shares(mask, tops, lefts, side, level.rows, level.columns)
    enough = tissue >= LEAST_TISSUE
    kept = np.flatnonzero(enough if enough.any() else tissue >= TRACE)
    return [Place(top=int(tops[at]), left=int(lefts[at]), side=side, tissue=float(tissue[at])) for at in kept]


def _image(tiled: TiledLevel, region: Region, place: Place, patch: int, candidates: int) -> ModelImage:
    level, head = tiled.level, tiled.head
    pixels = region.pixels
    if place.side != patch:
        small = Image.fromarray(pixels).resize((patch, patch), Image.Resampling.BILINEAR)
        pixels = np.asarray(small, dtype=np.uint8)
    middle = region.frames[len(region.frames) // 2] if region.frames else 1
    tile = Transform(name="tile", parameters={
        "top": place.top, "left": place.left, "side": place.side, "patch": patch, "tissue": round(place.tissue, 3),
        "microns": level.microns, "total_rows": level.rows, "total_columns": level.columns,
        "frames": list(region.frames), "tissue_tiles": candidates})
    return ModelImage(
        pixels=pixels,
        sop_class_uid=text(head, "SOPClassUID"),
        sop_instance_uid=text(head, "SOPInstanceUID"),
        series_instance_uid=text(head, "SeriesInstanceUID"),
        frame=middle,
        tile=place.number(level.columns),
        transforms=(decoded_from(head, (level.tile_rows, level.tile_columns), middle), *region.steps, tile),
    )
