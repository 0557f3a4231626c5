"""Drawn frontal chest radiographs in which every finding is known to the pixel.

The picture is viewed as a radiologist views it: the patient's right is on image left. One seed is one patient; the
anatomy does not change with the findings asked for, nor with the size drawn at (only the grain of the noise does).
A phantom proves that the plumbing works. It says nothing about patients.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.demo.anatomy import Chest, Field, Lung, LungSide, bump, cloud, healthy, heart, rise

FINDINGS = ("effusion", "pneumothorax", "cardiomegaly", "consolidation", "nodule", "edema")
LATERALISED = ("effusion", "pneumothorax", "consolidation", "nodule")

Side = Literal["left", "right", "both", ""]
Certainty = Literal["definite", "probable", "possible"]
Mask = NDArray[np.bool_]

#: How often each finding is drawn when the seed decides, and how often a seed is left healthy.
PREVALENCE = 0.28
HEALTHY = 0.12


@dataclass(frozen=True, kw_only=True)
class DrawnFinding:
    """One finding as drawn. `side` is the patient's; `box` is (x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""

    finding: str
    side: Side
    box: tuple[int, int, int, int]
    mask: Mask
    conspicuity: float  #: 0 faint or small .. 1 obvious

    @property
    def certainty(self) -> Certainty:
        """How sure a reader could be, from how plainly it was drawn."""
        return "definite" if self.conspicuity >= 0.4 else "probable" if self.conspicuity >= 0.15 else "possible"


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """`image` is float32 (height, width) in 0..1, dense bright."""

    seed: int
    image: Field
    findings: tuple[DrawnFinding, ...]

    def cropped(self, rows: int, columns: int) -> Phantom:
        """The middle `rows` x `columns`, as a collimator leaves them; boxes and masks follow."""
        top, left = (self.image.shape[0] - rows) // 2, (self.image.shape[1] - columns) // 2
        window = (slice(top, top + rows), slice(left, left + columns))
        kept = []
        for drawn in self.findings:
            mask = drawn.mask[window]
            kept.append(replace(drawn, mask=mask, box=box_of(mask)))
        return replace(self, image=self.image[window], findings=tuple(kept))


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """The smallest (x0, y0, x1, y1) around a mask; all zero when it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(kw_only=True)
class _Canvas:
    """The layers a finding may change while one phantom is drawn."""

    chest: Chest
    added: Field  #: density on top of the healthy chest
    markings: Field  #: 0..1, how much of the vessels remains
    heart_size: tuple[float, float]


def _effusion(canvas: _Canvas, lung: Lung, rng: np.random.Generator, plain: float) -> Mask:
    """Fluid at the base whose surface climbs towards the chest wall."""
    level = 0.30 - 0.27 * plain
    climb = np.clip((lung.across - np.float32(0.2)) / np.float32(lung.width - 0.2), 0, 1.1) ** 2
    surface = np.float32(level) - np.float32(rng.uniform(0.16, 0.24)) * climb
    fluid = lung.field * rise(canvas.chest.grid.y - surface, 26)
    canvas.added += np.float32(rng.uniform(0.30, 0.36)) * fluid
    canvas.markings *= 1 - fluid
    return fluid > 0.5


def _pneumothorax(canvas: _Canvas, lung: Lung, rng: np.random.Generator, plain: float) -> Mask:
    """Air between the chest wall and the edge of a fallen lung: blacker, no markings, a thin pleural line."""
    y = canvas.chest.grid.y
    gap = np.float32(0.17 + 0.17 * plain) * rise(np.float32(rng.uniform(0.05, 0.25)) - y, 9)
    edge = lung.lateral - gap - np.float32(0.10 * plain) * bump(y - np.float32(lung.top), 0.22)
    free = lung.field * rise(lung.across - edge, 40) * rise(gap - np.float32(0.05), 60)
    canvas.markings *= 1 - free
    canvas.added -= np.float32(0.10 + 0.05 * plain) * free
    line = bump(lung.across - edge, 0.014) * lung.field * rise(gap - np.float32(0.05), 60)
    canvas.added += np.float32(0.12) * line + np.float32(0.05) * lung.field * (1 - free)
    return free > 0.5


def _cardiomegaly(canvas: _Canvas, _: Lung | None, rng: np.random.Generator, plain: float) -> Mask:
    """A heart wider than half the chest."""
    canvas.heart_size = (0.45 + 0.10 * plain, rng.uniform(0.33, 0.37))
    return heart(canvas.chest, *canvas.heart_size) > 0.5


def _consolidation(canvas: _Canvas, lung: Lung, rng: np.random.Generator, plain: float) -> Mask:
    """A dense patch with a ragged edge, in the lateral upper or middle lung where heart and fluid leave it visible."""
    x, y = rng.uniform(0.38, 0.58), rng.uniform(-0.45, 0.10)
    wide, high = rng.uniform(0.14, 0.18) + 0.04 * plain, rng.uniform(0.12, 0.16) + 0.04 * plain
    ragged = np.float32(0.30) * cloud(rng, canvas.chest.grid.size, 9)
    far = ((lung.across - np.float32(x)) / wide) ** 2 + ((canvas.chest.grid.y - np.float32(y)) / high) ** 2
    patch = rise(1 - far.astype(np.float32) + ragged, 5) * lung.field
    grain = 1 + np.float32(0.15) * cloud(rng, canvas.chest.grid.size, 24)
    canvas.added += np.float32(0.21 + 0.10 * plain) * patch * grain
    return patch > 0.5


def _nodule(canvas: _Canvas, lung: Lung, rng: np.random.Generator, plain: float) -> Mask:
    """A round sharp shadow of 2 to 3 cm."""
    x, y = rng.uniform(0.32, 0.58), rng.uniform(-0.45, 0.20)
    radius = 0.065 + 0.027 * plain
    disc = rise(np.float32(radius) - np.hypot(lung.across - np.float32(x), canvas.chest.grid.y - np.float32(y)), 80)
    canvas.added += np.float32(0.27 + 0.10 * plain) * disc
    return disc > 0.5


def _edema(canvas: _Canvas, _: Lung | None, rng: np.random.Generator, plain: float) -> Mask:
    """Haze around both hila, fading outwards, with fine lines at the lateral bases."""
    grid = canvas.chest.grid
    u = np.abs(grid.x)
    wings = bump(u - np.float32(0.30), 0.22) * bump(grid.y - np.float32(0.02), 0.36)
    haze = np.float32(0.19 + 0.11 * plain) * wings * (np.float32(0.85) + np.float32(0.3) * cloud(rng, grid.size, 18))
    lines = np.float32(0.5) + np.float32(0.5) * np.sin(np.float32(rng.uniform(55, 68)) * grid.y + np.float32(3) * u)
    canvas.added += canvas.chest.aerated * np.clip(haze, 0, 1)
    canvas.added += np.float32(0.05) * lines * canvas.chest.aerated * rise(u - np.float32(0.46), 16)
    return (canvas.chest.aerated > 0.5) & (wings > 0.5)


_Draw = Callable[[_Canvas, Lung, np.random.Generator, float], Mask]
_DRAW: dict[str, _Draw] = {
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "cardiomegaly": _cardiomegaly,
    "consolidation": _consolidation,
    "nodule": _nodule,
    "edema": _edema,
}


def _stream(seed: int, index: int) -> np.random.Generator:
    """Independent random numbers for one purpose of one seed, so that no finding disturbs another."""
    return np.random.default_rng((seed, index))


def choose(seed: int) -> dict[str, Side]:
    """What the seed alone would draw: findings with their sides."""
    rng = _stream(seed, 1)
    sides: dict[str, Side] = {}
    sick = rng.random() >= HEALTHY
    for finding in FINDINGS:
        side: Side = "left" if rng.random() < 0.5 else "right"
        if sick & (rng.random() < PREVALENCE):
            sides[finding] = _side_allowed(finding, side)
    if "pneumothorax" in sides:  # a patch or nodule in the collapsed part would be neither drawn nor read well
        other: Side = "left" if sides["pneumothorax"] == "right" else "right"
        sides |= {finding: other for finding in ("consolidation", "nodule") if finding in sides}
    return sides


def _side_allowed(finding: str, side: Side) -> Side:
    if finding in LATERALISED:
        return side
    return "both" if finding == "edema" else ""


def _asked(seed: int, findings: Mapping[str, Side] | Collection[str] | None) -> dict[str, Side]:
    if findings is None:
        return choose(seed)
    unknown = set(findings) - set(FINDINGS)
    if unknown:
        raise ValueError(f"findings {sorted(unknown)} cannot be drawn; known are {', '.join(FINDINGS)}")
    given = findings if isinstance(findings, Mapping) else {}
    rng = _stream(seed, 2)
    asked: dict[str, Side] = {}
    for finding in FINDINGS:
        own: Side = "left" if rng.random() < 0.5 else "right"
        if finding in findings:
            asked[finding] = _side_allowed(finding, given.get(finding) or own)
    return asked


def _lungs(chest: Chest, finding: str, side: Side) -> list[Lung]:
    """The lungs a finding is drawn in; findings without a side take one that they do not look at."""
    if finding not in LATERALISED:
        return [chest.lungs["left"]]
    chosen: list[LungSide] = ["right", "left"] if side == "both" else ["left" if side == "left" else "right"]
    return [chest.lungs[each] for each in chosen]


def draw(seed: int, size: int, findings: Mapping[str, Side] | Collection[str] | None = None) -> Phantom:
    """The phantom of a seed, `size` pixels a side.

    `findings` None lets the seed choose; names alone let it choose the sides; a mapping gives them
    ("left", "right" or "both"; ignored for cardiomegaly and edema, which have none to choose).
    """
    anatomy = _stream(seed, 0)
    chest = healthy(anatomy, size)
    normal_heart = (anatomy.uniform(0.27, 0.335), anatomy.uniform(0.26, 0.31))
    canvas = _Canvas(
        chest=chest, added=np.zeros_like(chest.soft), markings=np.ones_like(chest.soft), heart_size=normal_heart
    )
    drawn = []
    for finding, side in _asked(seed, findings).items():
        rng = _stream(seed, 10 + FINDINGS.index(finding))
        plain = float(rng.random())
        masks = [_DRAW[finding](canvas, lung, rng, plain) for lung in _lungs(chest, finding, side)]
        mask = np.logical_or.reduce(masks)
        drawn.append(DrawnFinding(finding=finding, side=side, box=box_of(mask), mask=mask, conspicuity=plain))
    density = chest.soft + chest.vessels * canvas.markings + chest.bones + canvas.added
    density += np.float32(0.26) * heart(chest, *canvas.heart_size)
    return Phantom(seed=seed, image=_exposed(seed, density), findings=tuple(drawn))


def _exposed(seed: int, density: Field) -> Field:
    """The density as a detector records it: uneven exposure, a display curve, grain."""
    rng = _stream(seed, 3)
    density = density + np.float32(0.02) * cloud(rng, len(density), 4)
    gain, offset, gamma = rng.uniform(0.9, 1.12), rng.uniform(-0.02, 0.04), rng.uniform(0.87, 1.18)
    image = np.clip(density * np.float32(gain) + np.float32(offset), 0, 1) ** np.float32(gamma)
    grain = np.float32(rng.uniform(0.005, 0.02))
    noise = _stream(seed, 4).standard_normal(density.shape, dtype=np.float32)
    exposed: Field = np.clip(image + grain * noise, 0, 1).astype(np.float32)
    return exposed
