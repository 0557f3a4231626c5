"""Which frames of a cine are looked at, and which way each class of image goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import EnhancedXAImageStorage, OphthalmicTomographyImageStorage, RLELossless

from node import routing
from node.domain import ImageHead, ModelImage
from node.errors import Undecodable
from node.images import Family, cine, family, picture
from node.images.cines import choice_of, even
from tests.tools.pictures import clip, photograph
from tests.tools.radiographs import REAL, write


def moving(count: int, side: int = 32) -> NDArray[np.uint8]:
    """A bright block that moves down, frame by frame."""
    frames = np.zeros((count, side, side), dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[number : number + 8, 8:24] = 200
    return frames


def noted(image: ModelImage) -> dict[str, Any]:
    return image.transforms[-1].parameters


def head(frames: int, **attributes: Any) -> Dataset:
    return clip(np.zeros((1, 2, 2), dtype=np.uint8), NumberOfFrames=frames, **attributes)


@pytest.mark.parametrize(("first", "last", "most", "frames"), [
    (1, 3, 8, [1, 2, 3]), (1, 1, 8, [1]), (1, 100, 4, [13, 38, 63, 88]), (1, 3, 1, [2]), (11, 20, 2, [13, 18]),
])
def test_frames_are_the_middles_of_equal_parts(first: int, last: int, most: int, frames: list[int]) -> None:
    assert even(first, last, most) == frames


def test_frames_that_the_maker_names_come_first_and_count() -> None:
    choice = choice_of(head(100, RepresentativeFrameNumber=42, FrameNumbersOfInterest=[7, 42, 900]), 4)
    assert (choice.named, choice.sampled) == ((42, 7), (13, 38))


def test_an_oct_volume_is_seen_in_its_middle_and_evenly() -> None:
    choice = choice_of(head(128, SOPClassUID=OphthalmicTomographyImageStorage), 5)
    assert (choice.named, choice.sampled) == ((64,), (13, 39, 65, 90))


def test_each_frame_is_shown_by_its_own_window(tmp_path: Path) -> None:
    """As enhanced angiography and OCT state it, in functional groups."""
    frames = np.stack([np.arange(64, dtype=np.uint16).reshape(8, 8)] * 2)
    groups = []
    for center in (10, 40):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 11
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = write(clip(frames, SOPClassUID=EnhancedXAImageStorage, PerFrameFunctionalGroupsSequence=groups),
                 tmp_path / "xa.dcm")
    assert [int((picture(path, frame).pixels[:, :, 0] == 0).sum()) for frame in (1, 2)] == [5, 35]


@pytest.mark.parametrize(("start", "stop", "sampled"), [(21, 40, (26, 36)), (40, 21, (26, 76)), (0, 0, (26, 76))])
def test_a_trim_that_makes_sense_bounds_the_sample(start: int, stop: int, sampled: tuple[int, ...]) -> None:
    assert choice_of(head(100, StartTrim=start, StopTrim=stop), 2).sampled == sampled


def test_a_cine_gives_an_even_sample_in_the_order_of_time(tmp_path: Path) -> None:
    images = cine(write(clip(moving(20), CineRate=25), tmp_path / "cine.dcm"), 5)
    assert [image.frame for image in images] == [3, 7, 11, 15, 19]
    assert [int(image.pixels[:, 16, 0].argmax()) for image in images] == [2, 6, 10, 14, 18]
    assert [noted(images[0])[name] for name in ("cine_rate", "frame_time_ms", "frames")] == [25, 40, 20]


def test_a_named_frame_is_among_them(tmp_path: Path) -> None:
    images = cine(write(clip(moving(20), RepresentativeFrameNumber=6), tmp_path / "cine.dcm"), 3)
    assert [(image.frame, noted(image)["chosen"]) for image in images] == [
        (4, "even sample"), (6, "named"), (11, "even sample")]


def test_blanks_and_repeats_are_left_aside_and_named(tmp_path: Path) -> None:
    frames = moving(6)
    frames[0], frames[3] = 0, frames[2]
    images = cine(write(clip(frames), tmp_path / "cine.dcm"))
    assert [image.frame for image in images] == [2, 3, 5, 6]
    assert (noted(images[0])["blank"], noted(images[0])["repeated"]) == ([1], [4])


def test_a_cine_of_blanks_shows_one(tmp_path: Path) -> None:
    images = cine(write(clip(np.zeros((4, 8, 8), dtype=np.uint8)), tmp_path / "cine.dcm"))
    assert [image.frame for image in images] == [1]


def test_a_broken_frame_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    stored = clip(moving(4))
    write(stored, tmp_path / "native.dcm")
    image = dcmread(tmp_path / "native.dcm")
    image.compress(RLELossless)
    codes = list(generate_frames(image.PixelData, number_of_frames=4))
    codes[1] = codes[1][:20]
    image.PixelData = encapsulate(codes)
    image.save_as(tmp_path / "broken.dcm")
    images = cine(tmp_path / "broken.dcm")
    assert [each.frame for each in images] == [1, 3, 4]
    assert noted(images[0])["undecodable"] == [2]
    image.PixelData = encapsulate([code[:20] for code in codes])
    image.save_as(tmp_path / "all.dcm")
    with pytest.raises(Undecodable, match="none of the 4 frames tried can be decoded"):
        cine(tmp_path / "all.dcm")


def test_a_colour_cine_of_two_frames_is_shown_in_colour() -> None:
    images = cine(REAL / "SC_rgb_rle_16bit_2frame.dcm")
    assert [image.frame for image in images] == [1, 2]
    assert images[0].pixels[5, 50].tolist() == [255, 0, 0]


def test_one_frame_is_picked_by_its_number(tmp_path: Path) -> None:
    path = write(clip(moving(5)), tmp_path / "cine.dcm")
    assert int(picture(path, 4).pixels[:, 16, 0].argmax()) == 3
    with pytest.raises(Undecodable, match="frame 6 of 5"):
        picture(path, 6)


def test_ultrasound_regions_are_recorded_and_cut_nothing(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 1, 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 5, 6
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = picture(write(photograph(stored, SequenceOfUltrasoundRegions=[region]), tmp_path / "us.dcm"))
    step = next(step for step in image.transforms if step.name == "ultrasound_regions")
    assert step.parameters["regions"][0]["max_x"] == 5
    assert np.array_equal(image.pixels[:, :, 0], stored)


@pytest.mark.parametrize(("ending", "frames", "expected"), [
    ("1", 1, Family.PROJECTION), ("1.1.1", 1, Family.PROJECTION), ("1.2", 1, Family.PROJECTION),
    ("2", 1, Family.VOLUME), ("4.1", 30, Family.VOLUME), ("128", 1, Family.VOLUME),
    ("77.1.4", 1, Family.PICTURE), ("77.1.5.1", 1, Family.PICTURE), ("77.1.5.4", 1, Family.PICTURE),
    ("77.1.5.4", 128, Family.CINE), ("77.1.1", 1, Family.PICTURE), ("6.1", 1, Family.PICTURE), ("3.1", 60, Family.CINE),
    ("3.1", 1, Family.PICTURE), ("7", 1, Family.PICTURE), ("7.4", 4, Family.CINE), ("12.1", 90, Family.CINE),
    ("77.1.6", 1, Family.SLIDE), ("77.1.6", 900, Family.SLIDE), ("88.22", 1, Family.NONE), ("66.4", 9, Family.NONE),
])
def test_a_class_goes_its_way(ending: str, frames: int, expected: Family) -> None:
    assert family(of(routing.STORAGE + ending, frames)) is expected


def test_every_class_that_routing_takes_for_a_picture_has_a_way() -> None:
    for sop_class_uid in (*routing.IMAGE_FAMILIES, *routing.SECONDARY_CAPTURE):
        assert family(of(sop_class_uid)) is not Family.NONE, sop_class_uid


def of(sop_class_uid: str, frames: int = 1) -> ImageHead:
    return ImageHead(sop_class_uid=sop_class_uid, sop_instance_uid="1.1", study_instance_uid="1.2",
                     series_instance_uid="1.3", transfer_syntax_uid="1.2.840.10008.1.2.1", number_of_frames=frames)
