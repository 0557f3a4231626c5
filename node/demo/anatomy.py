"""The drawn chest without disease: a patient grid, two lungs, heart, bones.

Coordinates are the patient's, in half-widths of a square field of about 35 cm: x grows to image right (the patient's
left, as radiographs are viewed), y grows downwards, both run from -1 to 1. Everything is a function of (seed, x, y), so
the same seed shows the same chest at every size. Densities are drawn bright (as MONOCHROME2 shows them), 0 is air
outside the body and 1 the brightest film value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
AnyField = NDArray[np.floating[Any]]
LungSide = Literal["right", "left"]

#: Image x of each lung: the patient's right is on image left.
SIGN: dict[LungSide, float] = {"right": -1.0, "left": 1.0}


def rise(x: AnyField, steepness: float) -> Field:
    """A smooth step from 0 to 1 at x = 0; 1/steepness is its width in half-widths of the field."""
    step: Field = (0.5 + 0.5 * np.tanh(np.float32(0.5 * steepness) * x)).astype(np.float32)
    return step


def bump(x: AnyField, width: float, power: int = 2) -> Field:
    """exp(-(x/width)**power): 1 at x = 0 and gone beyond a few widths."""
    hill: Field = np.exp(-(np.abs(x / np.float32(width)) ** power)).astype(np.float32)
    return hill


def cloud(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth random texture (size, size) of unit variance at `cells` cells a side; the same picture at every size."""
    knots = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
    place = ((np.arange(size, dtype=np.float32) + 0.5) / size * cells).astype(np.float32)
    cell = place.astype(np.intp)
    part = place - cell
    part = part * part * (3 - 2 * part)
    rows = knots[cell] * (1 - part)[:, None] + knots[cell + 1] * part[:, None]
    texture: Field = rows[:, cell] * (1 - part) + rows[:, cell + 1] * part
    return texture


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Patient coordinates of every pixel, each (size, size); pixel centres as in align_corners=False resizing."""

    size: int
    x: Field
    y: Field

    @classmethod
    def posed(cls, rng: np.random.Generator, size: int) -> Grid:
        """A patient slightly turned, shifted and scaled, as nobody stands twice the same."""
        angle, scale = rng.normal(0, 0.03), rng.uniform(0.92, 1.06)
        dx, dy = rng.normal(0, 0.03, 2)
        line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
        across, down = np.float32(1) * (line - np.float32(dx))[None, :], (line - np.float32(dy))[:, None]
        cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
        return cls(size=size, x=across * cos + down * sin, y=down * cos - across * sin)


@dataclass(frozen=True, kw_only=True)
class Lung:
    """One lung field and the outlines that findings attach to, as functions of the pixel."""

    side: LungSide
    field: Field  #: 0..1, aerated lung as projected
    across: Field  #: distance from the midline towards this side
    lateral: Field  #: where the chest wall lies at this height
    medial: Field  #: where the mediastinum ends at this height
    width: float  #: greatest distance of the chest wall from the midline
    top: float  #: y of the apex


@dataclass(frozen=True, kw_only=True)
class Chest:
    """A healthy chest before its exposure: what findings add to or take from."""

    grid: Grid
    lungs: dict[LungSide, Lung]
    aerated: Field  #: both lung fields together
    soft: Field  #: body wall and abdomen minus air
    vessels: Field  #: lung markings, lost where the lung is
    bones: Field  #: ribs, clavicles, spine, mediastinum
    heart_centre: tuple[float, float]
    heart_tilt: float


def _lung(rng: np.random.Generator, grid: Grid, side: LungSide) -> Lung:
    across = np.float32(SIGN[side]) * grid.x
    width, top = rng.uniform(0.70, 0.78), rng.uniform(-0.80, -0.72)
    # The right dome stands higher, the liver is under it.
    dome_top = rng.uniform(0.42, 0.52) - (0.06 if side == "right" else 0.0)
    dome = np.float32(dome_top) + np.float32(1.15) * (across - np.float32(0.36)) ** 2
    below_apex = np.clip(grid.y - np.float32(top), 0, None)
    lateral = np.float32(width) * (1 - np.exp(-below_apex / np.float32(0.24)))
    medial = np.float32(0.11) + np.float32(0.10) * np.exp(-below_apex / np.float32(0.16))
    field = rise(lateral - across, 45) * rise(across - medial, 45) * rise(dome - grid.y, 35)
    return Lung(side=side, field=field, across=across, lateral=lateral, medial=medial, width=width, top=top)


def _body(rng: np.random.Generator, grid: Grid) -> Field:
    half, depth = rng.uniform(0.92, 1.02), rng.uniform(1.15, 1.3)
    inside = rise(1 - ((grid.x / np.float32(half)) ** 6 + ((grid.y - np.float32(0.2)) / np.float32(depth)) ** 6), 12)
    shoulders = rise(grid.y + np.float32(0.86) - np.float32(0.30) * grid.x**2, 16)
    neck = bump(grid.x, 0.30, 6)
    wall: Field = inside * np.maximum(shoulders, neck) * (np.float32(0.56) - np.float32(0.10) * grid.x**2)
    return wall


def _ribs(rng: np.random.Generator, grid: Grid) -> Field:
    u = np.abs(grid.x)
    spacing, first = rng.uniform(0.155, 0.18), rng.uniform(-0.78, -0.66)
    arch = np.float32(0.36) * np.clip(u - np.float32(0.08), 0, None) ** 1.4
    turn = (grid.y - arch - np.float32(first)) / np.float32(spacing)
    band = np.exp((np.cos(np.float32(2 * np.pi) * turn) - 1) * np.float32(3.2))
    inside = rise(u - np.float32(0.09), 30) * rise(np.float32(0.84) - u, 22) * rise(np.float32(0.5) - grid.y, 14)
    ribs: Field = np.float32(rng.uniform(0.045, 0.08)) * band * inside * rise(turn + np.float32(0.3), 9)
    return ribs.astype(np.float32)


def _bones(rng: np.random.Generator, grid: Grid) -> Field:
    u = np.abs(grid.x)
    mediastinum = bump(grid.x, 0.135, 4) * rise(grid.y + np.float32(0.9), 10)
    phase = np.float32(rng.uniform(0, 2 * np.pi))
    spine = bump(grid.x, 0.07, 4) * (np.float32(0.75) + np.float32(0.25) * np.sin(np.float32(25) * grid.y + phase))
    line = grid.y + np.float32(0.64 + rng.normal(0, 0.02)) + np.float32(0.14) * u
    clavicles = bump(line, 0.034) * rise(u - np.float32(0.09), 25) * rise(np.float32(0.78) - u, 16)
    bones: Field = (
        np.float32(0.17) * mediastinum
        + np.float32(0.08) * spine
        + np.float32(rng.uniform(0.07, 0.10)) * clavicles
        + _ribs(rng, grid)
    )
    return bones


def _vessels(rng: np.random.Generator, grid: Grid, aerated: Field) -> Field:
    hilum = bump(np.abs(grid.x) - np.float32(0.17), 0.2) * bump(grid.y + np.float32(0.02), 0.3)
    texture = np.abs(np.float32(0.045) * cloud(rng, grid.size, 14) + np.float32(0.03) * cloud(rng, grid.size, 26))
    markings: Field = aerated * (texture * (np.float32(0.6) + np.float32(1.5) * hilum) + np.float32(0.10) * hilum)
    return markings


def healthy(rng: np.random.Generator, size: int) -> Chest:
    """A chest with nothing in it, `size` pixels a side."""
    grid = Grid.posed(rng, size)
    lungs: dict[LungSide, Lung] = {"right": _lung(rng, grid, "right"), "left": _lung(rng, grid, "left")}
    aerated = np.minimum(lungs["right"].field + lungs["left"].field, np.float32(1))
    soft = _body(rng, grid) - np.float32(rng.uniform(0.31, 0.38)) * aerated
    vessels = _vessels(rng, grid, aerated)
    bones = _bones(rng, grid)
    return Chest(
        grid=grid,
        lungs=lungs,
        aerated=aerated,
        soft=soft,
        vessels=vessels,
        bones=bones,
        heart_centre=(rng.uniform(0.05, 0.09), rng.uniform(0.20, 0.26)),
        heart_tilt=rng.uniform(0.15, 0.28),
    )


def heart(chest: Chest, left_reach: float, height: float) -> Field:
    """The heart shadow, 0..1; `left_reach` is how far it goes to the patient's left of its centre."""
    cx, cy = chest.heart_centre
    down = chest.grid.y - np.float32(cy)
    along = chest.grid.x - np.float32(cx) - np.float32(chest.heart_tilt) * down
    reach = np.where(along > 0, np.float32(left_reach), np.float32(left_reach * 0.70))
    return rise(1 - (along / reach) ** 2 - (down / np.float32(height)) ** 2, 13)
