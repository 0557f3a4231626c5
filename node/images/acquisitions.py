"""Which slices belong together, in which order, and what is missing, double or no slice at all.

Images of one acquisition share SOP Class, Study, Series, Image Type, Acquisition Number, Modality, rows, columns
and orientation. Acquisition Date and Time part them only where one place was imaged more than once: within one
spiral CT they differ from slice to slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from node.errors import BadInput
from node.images.planes import Plane
from node.images.slices import PHASES, Slice, SliceHead, slice_heads

SAME_PLACE_MM = 0.01
GAP = 1.5
"""From so many spacings on, slices are missing between two neighbours."""
UNEVEN = 0.25
"""Where more of the steps than this are gaps, the spacing varies and nothing is said to be missing."""
LARGEST_LOCALISER = 15
"""Slices of one plane of a localiser, at most."""
NO_SLICES = frozenset({
    "LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCREEN SAVE", "SCREENSHOT", "SCREEN CAPTURE", "DOSE_INFO", "REPORT",
})
"""Values of Image Type that say so wherever they stand."""
RECONSTRUCTED = frozenset({"MPR", "REFORMATTED", "MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "CPR",
                           "VRT", "VOLUME RENDER", "3D RENDERED", "RENDERED"})
"""Values of a derived image's type: drawn from slices that are, or should be, in the study themselves."""


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """An image that belongs to no acquisition, and why."""

    path: Path
    sop_instance_uid: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Slices in order along the normal; by Instance Number where ``orientation`` is empty.

    ``missing`` counts the slices that gaps in the spacing tell of; ``duplicates`` lie where another slice was kept.
    """

    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    image_type: tuple[str, ...]
    acquisition_number: str
    phase: str
    patient_position: str
    orientation: tuple[float, ...]
    rows: int
    columns: int
    slices: tuple[Slice, ...]
    duplicates: tuple[Slice, ...]
    spacing_mm: float | None
    missing: int
    remarks: tuple[str, ...]

    @property
    def original(self) -> bool:
        """Measured, not computed from other images (PS3.3 C.7.6.1.1.2)."""
        return self.image_type[:1] != ("DERIVED",)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The acquisitions of a study, the main one first: original before derived, then the largest."""

    acquisitions: tuple[Acquisition, ...]
    excluded: tuple[Excluded, ...]

    @property
    def main(self) -> Acquisition | None:
        return self.acquisitions[0] if self.acquisitions else None


def grouped(paths: Iterable[Path]) -> Grouping:
    """Read the heads of a study's files and group their slices.

    Raises:
        StorageError: a file cannot be read.
    """
    heads: list[SliceHead] = []
    excluded: list[Excluded] = []
    for path in paths:
        try:
            found = list(slice_heads(path))
        except BadInput as error:
            excluded.append(Excluded(path=path, sop_instance_uid="", reason=str(error)))
            continue
        heads += [head for head in found if not _no_slice(head.image_type)]
        excluded += [_excluded(head, _no_slice(head.image_type)) for head in found if _no_slice(head.image_type)]
    heads.sort(key=_told_order)
    stacks, localisers = _without_localisers(_stacks(heads))
    excluded += [_excluded(head, "LOCALIZER: at right angles to the other slices") for head in localisers]
    acquisitions = [_acquisition(phase, part) for stack in stacks for phase, part in _phases(stack)]
    ordered = sorted(acquisitions, key=lambda found: (not found.original, -len(found.slices), found.phase,
                                                      found.series_instance_uid, found.acquisition_number))
    return Grouping(acquisitions=tuple(ordered), excluded=tuple(excluded))


def _no_slice(image_type: tuple[str, ...]) -> str:
    """Why an image of this type is no slice; empty where it is one."""
    words = {word.upper() for word in image_type}
    named = words & NO_SLICES or (words & RECONSTRUCTED if "DERIVED" in words else set())
    return f"Image Type {min(named)}" if named else ""


def _excluded(head: SliceHead, reason: str) -> Excluded:
    return Excluded(path=head.slice.path, sop_instance_uid=head.slice.sop_instance_uid, reason=reason)


def _stacks(heads: Sequence[SliceHead]) -> list[list[SliceHead]]:
    """Heads with one identity and one orientation; those without geometry by themselves."""
    alike: dict[Hashable, list[list[SliceHead]]] = defaultdict(list)
    for head in heads:
        stacks = alike[_identity(head)]
        for stack in stacks:
            if _laid_alike(stack[0].plane, head.plane):
                stack.append(head)
                break
        else:
            stacks.append([head])
    return [stack for stacks in alike.values() for stack in stacks]


def _told_order(head: SliceHead) -> tuple[str, int, int, str]:
    """An order that does not hang on that of the files."""
    one = head.slice
    return one.series_instance_uid, one.instance_number or 0, one.frame, one.sop_instance_uid


def _identity(head: SliceHead) -> Hashable:
    return (head.slice.sop_class_uid, head.study_instance_uid, head.slice.series_instance_uid, head.image_type,
            head.acquisition_number, head.modality, head.rows, head.columns)


def _laid_alike(one: Plane | None, two: Plane | None) -> bool:
    return one is two is None or (one is not None and two is not None and one.parallel(two))


def _without_localisers(stacks: list[list[SliceHead]]) -> tuple[list[list[SliceHead]], list[SliceHead]]:
    """A few slices at right angles to as many of their series, or to a CT of their study, are a localiser."""
    crossing = [any(_crosses(stack, other) for other in stacks if other is not stack) for stack in stacks]
    kept = [stack for stack, crosses in zip(stacks, crossing, strict=True) if not crosses]
    lost = [head for stack, crosses in zip(stacks, crossing, strict=True) if crosses for head in stack]
    return kept, lost


def _crosses(stack: list[SliceHead], other: list[SliceHead]) -> bool:
    one, two = stack[0], other[0]
    if one.plane is None or two.plane is None or not one.plane.orthogonal(two.plane):
        return False
    if one.slice.series_instance_uid == two.slice.series_instance_uid:
        return len(stack) <= min(len(other), LARGEST_LOCALISER)
    same_study = one.study_instance_uid == two.study_instance_uid
    return same_study and one.modality == two.modality == "CT" and len(stack) <= 2 < len(other)


def _phases(stack: list[SliceHead]) -> list[tuple[str, list[SliceHead]]]:
    """The stack, or its parts where an attribute tells several images of the same places apart."""
    if len(_kept(_in_order(stack))) == len(stack):
        return [("", stack)]
    for name in PHASES:
        parts: dict[str, list[SliceHead]] = defaultdict(list)
        for head in stack:
            parts[head.phases[name]].append(head)
        whole = all(len(part) > 1 and len(_kept(_in_order(part))) == len(part) for part in parts.values())
        if len(parts) > 1 and whole:
            return [(f"{name} {told.strip(chr(92))}", part) for told, part in parts.items()]
    return [("", stack)]


def _in_order(stack: Iterable[SliceHead]) -> list[Slice]:
    """By depth, then by Instance Number; by Instance Number alone where there is no geometry."""
    found = [head.slice for head in stack]
    return sorted(found, key=lambda one: (
        0.0 if one.position_mm is None else round(one.position_mm / SAME_PLACE_MM),
        one.instance_number is None, one.instance_number or 0, one.frame, one.sop_instance_uid))


def _kept(ordered: Sequence[Slice]) -> list[Slice]:
    """The first slice at each place; without geometry, of each Instance Number and frame."""
    kept: list[Slice] = []
    for one in ordered:
        if not kept or not _same_place(kept[-1], one):
            kept.append(one)
    return kept


def _same_place(one: Slice, two: Slice) -> bool:
    if one.position_mm is None or two.position_mm is None:
        named = one.instance_number is not None
        return named and (one.instance_number, one.frame) == (two.instance_number, two.frame)
    return abs(one.position_mm - two.position_mm) <= SAME_PLACE_MM


def _acquisition(phase: str, stack: list[SliceHead]) -> Acquisition:
    head = stack[0]
    ordered = _in_order(stack)
    kept = _kept(ordered)
    taken = set(kept)
    duplicates = [one for one in ordered if one not in taken]
    bare = Acquisition(
        sop_class_uid=head.slice.sop_class_uid, study_instance_uid=head.study_instance_uid,
        series_instance_uid=head.slice.series_instance_uid, modality=head.modality, image_type=head.image_type,
        acquisition_number=head.acquisition_number, phase=phase, patient_position=head.patient_position,
        orientation=() if head.plane is None else (*head.plane.row, *head.plane.column), rows=head.rows,
        columns=head.columns, slices=tuple(kept), duplicates=tuple(duplicates), spacing_mm=None, missing=0, remarks=())
    spacing, missing, remarks = _gaps([one.position_mm for one in kept if one.position_mm is not None])
    if head.plane is None and len(kept) > 1:
        remarks.append("no Image Position or Orientation (Patient): in order of Instance Number, gaps not looked for")
    if duplicates:
        remarks.append(f"{len(duplicates)} duplicates left out, first kept by Instance Number: " + ", ".join(
            f"{one.sop_instance_uid} frame {one.frame}" for one in duplicates[:5]) + (" ..." if duplicates[5:] else ""))
    return replace(bare, spacing_mm=spacing, missing=missing, remarks=tuple(remarks))


def _gaps(depths: Sequence[float]) -> tuple[float | None, int, list[str]]:
    """Spacing in millimetres, how many slices are missing, and both in words."""
    steps = [later - earlier for earlier, later in pairwise(depths)]
    if not steps:
        return None, 0, []
    spacing = median(steps)
    gaps = [(start, step) for start, step in zip(depths, steps, strict=False) if step > GAP * spacing]
    if len(gaps) > UNEVEN * len(steps):
        return spacing, 0, [f"spacing varies from {min(steps):.2f} to {max(steps):.2f} mm"]
    missing = sum(round(step / spacing) - 1 for _, step in gaps)
    if not missing:
        return spacing, 0, []
    places = ", ".join(f"{start:.2f} to {start + step:.2f} mm" for start, step in gaps[:5])
    return spacing, missing, [
        f"{missing} slices missing ({places}{', ...' if gaps[5:] else ''}); spacing {spacing:.2f} mm, "
        f"a gap is more than {GAP} spacings"]
