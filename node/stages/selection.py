"""Which images of a study's eligible instances a model is shown: a bounded number, and why not the others.

CR and DX are all shown. Of photographs and cines together, and of every other family, at most so many images are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from node import header, images
from node.domain import ImageHead, ModelImage, ReceivedInstance, Transform
from node.errors import BadInput, StorageError
from node.images import Acquisition, Family
from node.stages import pictures
from node.stages.pictures import Key
from node.stages.scale import Scale

Item = TypeVar("Item")

WHOLE = Scale()
CINE_FRAMES = 8
"""Of one cine at most, however few there are."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many images of a family, besides projections, are shown; before completion ``early`` of these."""

    most: int
    early: int | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Images with a working copy each and what was done to them; instances that gave none, by SOP Instance UID,
    with the reason; and what a reader must know about the choice."""

    images: dict[Key, tuple[Transform, ...]] = field(default_factory=dict)
    undecodable: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def select(data_dir: Path, instances: Iterable[ReceivedInstance], limits: Limits, scale: Scale = WHOLE) -> Selection:
    """Decode what is shown of ``instances``. An image that does not decode is named with its reason.

    Projections are brought to the side of ``scale`` where that is not 0: few of their many pixels are read for it.

    Raises:
        StorageError: a file cannot be read, or a working copy cannot be written.
    """
    sheet = _Sheet(data_dir)
    families = sheet.families(instances)
    for found in families[Family.PROJECTION]:
        sheet.projection(found, scale.side)
    _pictures(sheet, families[Family.PICTURE], families[Family.CINE], limits.most)
    _slices(sheet, families[Family.VOLUME], limits)
    _tiles(sheet, families[Family.SLIDE], limits.most, scale)
    for found in families[Family.NONE]:
        sheet.refuse(found, "no image of a patient")
    return sheet.selection


def image(
    data_dir: Path, instances: Sequence[ReceivedInstance], key: Key, limits: Limits, scale: Scale = WHOLE, *,
    whole: bool = False,
) -> ModelImage:
    """An image that was selected of ``instances`` at this scale, or the whole of it; made again where its working
    copy is gone.

    Raises:
        StorageError: it cannot be made any more.
    """
    found = next(one for one in instances if one.id == key.instance_id)
    alone = family_of(found) is Family.PROJECTION
    wanted = replace(scale, side=0) if alone and whole else scale
    side = wanted.side if alone else 0
    copy = pictures.kept(data_dir, found, key, side)
    if copy is None:
        select(data_dir, [found] if alone else instances, limits, wanted)
        copy = pictures.kept(data_dir, found, key, side)
    if copy is None:
        raise StorageError(f"image {key} (instance:frame:tile): it was decoded before and cannot be now")
    return copy


def _pictures(sheet: _Sheet, stills: list[ReceivedInstance], cines: list[ReceivedInstance], most: int) -> None:
    chosen = sheet.chosen([*stills, *cines], most, "photographs and cines")
    frames = max(1, min(CINE_FRAMES, most // max(1, len(chosen))))
    moving = {found.id for found in cines}
    for found in chosen:
        if found.id in moving:
            sheet.several(found, lambda path: images.cine(path, frames))
        else:
            sheet.single(found, images.picture)


def _slices(sheet: _Sheet, found: Sequence[ReceivedInstance], limits: Limits) -> None:
    """An even sample of the main acquisition; early, an even sample of that, so that completion uses it again."""
    by_path = {sheet.path(one): one for one in found}
    by_uid = {one.sop_instance_uid: one for one in found}
    grouping = images.grouped(by_path)
    main = grouping.main
    if main is not None:
        slices = images.sample(main, limits.most)
        sheet.remark_acquisition(main, len(slices), len(grouping.acquisitions) - 1)
        if limits.early is not None:
            slices = tuple(_evenly(slices, limits.early))
        try:
            for one in images.volume(main, slices, images.tone_for(main.modality),
                                     failed=lambda at, error: sheet.refuse(by_uid[at.sop_instance_uid], str(error))):
                sheet.put(by_uid[one.sop_instance_uid].id, one)
        except BadInput as error:
            for at in slices:
                sheet.refuse(by_uid[at.sop_instance_uid], str(error))
    for excluded in grouping.excluded:
        sheet.refuse(by_path[excluded.path], excluded.reason)


def _tiles(sheet: _Sheet, found: Sequence[ReceivedInstance], most: int, scale: Scale) -> None:
    """Tissue of each slide, which is a series; each tile is an image of its own."""
    slides: dict[str, list[ReceivedInstance]] = defaultdict(list)
    for one in found:
        slides[one.series_instance_uid].append(one)
    chosen = sheet.chosen(list(slides.values()), most, "slides")
    for levels in chosen:
        by_uid = {one.sop_instance_uid: one for one in levels}
        try:
            for tile in images.slide([sheet.path(one) for one in levels], microns=scale.microns, patch=scale.patch,
                                     most=max(1, most // len(chosen))):
                sheet.put(by_uid[tile.sop_instance_uid].id, tile)
        except BadInput as error:
            for one in levels:
                sheet.refuse(one, str(error))


def family_of(found: ReceivedInstance) -> Family:
    """Of an instance by its class alone."""
    return images.family(ImageHead(
        sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_instance_uid,
        study_instance_uid=found.study_instance_uid, series_instance_uid=found.series_instance_uid,
        transfer_syntax_uid=found.transfer_syntax_uid))


def _evenly(found: Sequence[Item], most: int) -> list[Item]:
    """The middles of ``most`` equal parts, or all where they are not more."""
    if len(found) <= most:
        return list(found)
    return [found[(2 * part + 1) * len(found) // (2 * most)] for part in range(most)]


class _Sheet:
    """Collects a selection, with a working copy of every image."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.selection = Selection()

    def families(self, instances: Iterable[ReceivedInstance]) -> dict[Family, list[ReceivedInstance]]:
        """Instances by family; one that cannot be read is refused."""
        found: dict[Family, list[ReceivedInstance]] = defaultdict(list)
        for one in instances:
            try:
                found[self._family(one)].append(one)
            except BadInput as error:
                self.refuse(one, str(error))
        return found

    def _family(self, found: ReceivedInstance) -> Family:
        """By its class; only of a picture the head is read, which says how many frames it has."""
        told = family_of(found)
        return images.family(header.read(self._data_dir / found.path)) if told is Family.PICTURE else told

    def path(self, found: ReceivedInstance) -> Path:
        """Where an instance is stored."""
        return self._data_dir / found.path

    def chosen(self, found: Sequence[Item], most: int, what: str) -> list[Item]:
        """At most so many, evenly spread; what is left out is remarked."""
        if len(found) > most:
            self.selection.remarks.append(f"{most} of {len(found)} {what} were analysed, evenly spread.")
        return _evenly(found, most)

    def remark_acquisition(self, main: Acquisition, shown: int, others: int) -> None:
        """How much of the volumes is looked at, and what is known to be missing."""
        if shown < len(main.slices):
            self.selection.remarks.append(
                f"{shown} of {len(main.slices)} slices of the main acquisition were analysed, evenly spread.")
        if others:
            were = "s were" if others > 1 else " was"
            self.selection.remarks.append(f"{others} other acquisition{were} not analysed.")
        self.selection.remarks.extend(f"Main acquisition: {remark}." for remark in main.remarks)

    def projection(self, found: ReceivedInstance, side: int) -> None:
        """A radiograph, whole where ``side`` is 0."""
        self.single(found, lambda path: images.resized(path, side) if side else images.projection(path), side)

    def single(self, found: ReceivedInstance, make: Callable[[Path], ModelImage], side: int = 0) -> None:
        """The one image of an instance, from its working copy where there is one."""
        copy = pictures.kept(self._data_dir, found, Key(found.id, 1), side)
        if copy is not None:
            self.selection.images[Key(found.id, 1)] = copy.transforms
            return
        self.several(found, lambda path: (make(path),), side)

    def several(self, found: ReceivedInstance, make: Callable[[Path], Iterable[ModelImage]], side: int = 0) -> None:
        """All images that ``make`` gives of an instance."""
        try:
            for one in make(self._data_dir / found.path):
                self.put(found.id, one, side)
        except BadInput as error:
            self.refuse(found, str(error))

    def put(self, instance_id: int, one: ModelImage, side: int = 0) -> None:
        """Keep an image, the first of its key."""
        key = Key(instance_id, one.frame, one.tile)
        if key in self.selection.images:
            return
        pictures.keep(self._data_dir, instance_id, one, side)
        self.selection.images[key] = one.transforms

    def refuse(self, found: ReceivedInstance, reason: str) -> None:
        """No image of this instance is shown, or not all of it."""
        self.selection.undecodable.setdefault(found.sop_instance_uid, reason)
