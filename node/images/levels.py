"""The levels of a whole slide: what each instance of the series is, and which one fits a magnification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from node.errors import NotEvaluable, Undecodable
from node.images.lookup import floats
from node.images.pixels import number, text, value

MICRONS = {5: 2.0, 10: 1.0, 20: 0.5, 40: 0.25}
"""Micrometres per pixel of the usual magnifications."""
FINER = 1.15
"""A level may be this much coarser than wanted and still count as fine enough."""

LARGEST_MATRIX = 1 << 19


class Flavour(Enum):
    """Image Type value 3 (PS3.3 C.8.12.4.1.1)."""

    VOLUME = "VOLUME"  #: the tissue, at some resolution
    THUMBNAIL = "THUMBNAIL"  #: the tissue, small
    OVERVIEW = "OVERVIEW"  #: the whole glass, label included
    LABEL = "LABEL"  #: the label, which may name the patient: never shown to a model


@dataclass(frozen=True, kw_only=True)
class Level:
    """One instance of a slide. ``microns`` is micrometres per pixel, 0 where not said; sizes in pixels."""

    path: Path
    flavour: Flavour
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    frames: int
    microns: float
    colour: bool
    sparse: bool

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


def level_of(path: Path, head: Dataset) -> Level:
    """What one instance of a slide says about itself.

    Raises:
        NotEvaluable: it is one part of a concatenation.
        Undecodable: its size is not said.
    """
    if value(head, "ConcatenationUID") or (number(head, "InConcatenationNumber") or 1) > 1:
        raise NotEvaluable("one part of a concatenation: the frames of a level lie in several instances")
    image_type = [part.upper() for part in text(head, "ImageType").split("\\")]
    flavour = next((each for each in Flavour if each.value in image_type[2:]), Flavour.VOLUME)
    tile_rows, tile_columns = number(head, "Rows") or 0, number(head, "Columns") or 0
    rows = number(head, "TotalPixelMatrixRows") or tile_rows
    columns = number(head, "TotalPixelMatrixColumns") or tile_columns
    if min(rows, columns, tile_rows, tile_columns) <= 0:
        raise Undecodable("Rows, Columns or the Total Pixel Matrix missing or 0")
    if max(rows, columns) > LARGEST_MATRIX:
        raise Undecodable(f"a Total Pixel Matrix of {rows} by {columns} is not plausible")
    stated = text(head, "DimensionOrganizationType").upper()
    return Level(
        path=path, flavour=flavour, rows=rows, columns=columns, tile_rows=tile_rows, tile_columns=tile_columns,
        frames=number(head, "NumberOfFrames") or 1, microns=_microns(head, rows, columns),
        colour=(number(head, "SamplesPerPixel") or 1) == 3,
        sparse=stated == "TILED_SPARSE" or (not stated and "PerFrameFunctionalGroupsSequence" in head))


def fitting(levels: Sequence[Level], microns: float) -> Level:
    """The coarsest level of tissue that is fine enough for ``microns`` per pixel, else the finest there is.

    Raises:
        NotEvaluable: no level shows tissue, none says its scale, or the finest is too coarse by half.
    """
    volumes = [each for each in levels if each.flavour is Flavour.VOLUME]
    if not volumes:
        found = ", ".join(sorted({each.flavour.value for each in levels}))
        raise NotEvaluable(f"no level of the slide shows tissue (found {found or 'none'})")
    scaled = [each for each in volumes if each.microns > 0]
    if not scaled:
        raise NotEvaluable("the scale of the slide is not known (no Pixel Spacing, no Imaged Volume Width)")
    fine = [each for each in scaled if each.microns <= microns * FINER]
    if fine:
        return max(fine, key=lambda each: each.microns)
    finest = min(scaled, key=lambda each: each.microns)
    if finest.microns > 2 * microns:
        raise NotEvaluable(
            f"the finest level has {finest.microns:.2f} micrometres per pixel, {microns:.2f} are needed")
    return finest


def smallest(levels: Sequence[Level]) -> Level:
    """The level on which tissue is looked for: the fewest pixels among tissue and thumbnails."""
    return min((each for each in levels if each.flavour in (Flavour.VOLUME, Flavour.THUMBNAIL)),
               key=lambda each: each.pixels)


def _microns(head: Dataset, rows: int, columns: int) -> float:
    """By Pixel Spacing of the Shared Functional Groups, else Imaged Volume Width and Height (C.8.12.4), in mm."""
    shared = (value(head, "SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    measures = (value(shared, "PixelMeasuresSequence") or (Dataset(),))[0]
    for item in (measures, head):
        spacing = [each for each in floats(item, "PixelSpacing") if np.isfinite(each) and each > 0]
        if spacing:
            return 1000.0 * sum(spacing) / len(spacing)
    sides = [(next(iter(floats(head, keyword)), 0.0), length)
             for keyword, length in (("ImagedVolumeWidth", columns), ("ImagedVolumeHeight", rows))]
    found = [1000.0 * side / length for side, length in sides if np.isfinite(side) and side > 0]
    return sum(found) / len(found) if found else 0.0
