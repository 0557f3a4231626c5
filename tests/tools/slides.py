"""Whole slides drawn as one picture and cut into tiles, level by level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from tests.tools.pictures import photograph

GLASS, STAIN = 245, (190, 80, 150)


def stained(rows: int, columns: int, tissue: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Glass with stain of changing depth where ``tissue`` is true (everywhere unless told)."""
    picture = np.full((rows, columns, 3), GLASS, dtype=np.uint8)
    depth = np.add.outer(np.arange(rows) * 7, np.arange(columns) * 3) % 40
    colour = (np.array(STAIN) - depth[:, :, np.newaxis]).astype(np.uint8)
    where = np.ones((rows, columns), dtype=np.bool_) if tissue is None else tissue
    picture[where] = colour[where]
    return picture


def level(picture: NDArray[np.uint8], tile: int, microns: float, number: int = 1, **attributes: Any) -> Dataset:
    """One level in TILED_FULL; the last tiles of a row and of a column are filled up with black."""
    made = _made(np.stack([part for _, _, part in _tiles(picture, tile)]), picture, microns, number)
    made.DimensionOrganizationType = "TILED_FULL"
    return _with(made, attributes)


def sparse_level(
    picture: NDArray[np.uint8], tile: int, microns: float, *, skip: int | None = None, **attributes: Any
) -> Dataset:
    """The same in TILED_SPARSE, last tile first, without tile ``skip``; a second focal plane is black."""
    cut = [each for at, each in enumerate(_tiles(picture, tile)) if at != skip][::-1]
    frames = np.stack([part for _, _, part in cut] + [np.zeros_like(part) for _, _, part in cut])
    made = _made(frames, picture, microns, 1)
    made.DimensionOrganizationType = "TILED_SPARSE"
    made.PerFrameFunctionalGroupsSequence = [
        _group(top, left, depth) for depth in (0.0, 0.5) for top, left, _ in cut]
    return _with(made, attributes)


def _tiles(picture: NDArray[np.uint8], tile: int) -> list[tuple[int, int, NDArray[np.uint8]]]:
    rows, columns = (-(-length // tile) * tile for length in picture.shape[:2])
    whole = np.zeros((rows, columns, 3), dtype=np.uint8)
    whole[: picture.shape[0], : picture.shape[1]] = picture
    return [(top, left, whole[top : top + tile, left : left + tile])
            for top in range(0, rows, tile) for left in range(0, columns, tile)]


def _made(frames: NDArray[np.uint8], picture: NDArray[np.uint8], microns: float, number: int) -> Dataset:
    made = photograph(
        np.ascontiguousarray(frames[0]), SOPClassUID=VLWholeSlideMicroscopyImageStorage, Modality="SM",
        SOPInstanceUID=f"1.2.6.{number}", SeriesInstanceUID="1.2.6", BodyPartExamined=None,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], NumberOfFrames=len(frames))
    data = frames.tobytes()
    made.PixelData = data + b"\x00" * (len(data) % 2)
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = picture.shape[:2]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [microns / 1000, microns / 1000]
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    return made


def _group(top: int, left: int, depth: float) -> Dataset:
    position, group = Dataset(), Dataset()
    position.RowPositionInTotalImagePixelMatrix, position.ColumnPositionInTotalImagePixelMatrix = top + 1, left + 1
    position.ZOffsetInSlideCoordinateSystem = depth
    group.PlanePositionSlideSequence = [position]
    return group


def _with(made: Dataset, attributes: dict[str, Any]) -> Dataset:
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made
