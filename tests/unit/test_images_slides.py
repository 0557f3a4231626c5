"""Whole slides: the level that fits, tiles of tissue alone, both ways to organise tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.domain import ModelImage
from node.errors import NotEvaluable, Undecodable
from node.images import slide
from node.images.tissue import cut_of, mask_of
from tests.tools.radiographs import REAL, write
from tests.tools.slides import level, sparse_level, stained


def tile(image: ModelImage) -> dict[str, Any]:
    return image.transforms[-1].parameters


def places(images: tuple[ModelImage, ...]) -> list[tuple[int, int]]:
    return [(tile(image)["top"], tile(image)["left"]) for image in images]


def block(rows: int, columns: int, top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
    found = np.zeros((rows, columns), dtype=np.bool_)
    found[top : top + height, left : left + width] = True
    return found


@pytest.mark.parametrize("organised", [level, sparse_level])
def test_tiles_are_the_squares_of_the_picture_whatever_frames_they_lie_on(tmp_path: Path, organised: Any) -> None:
    picture = stained(48, 64)
    images = slide([write(organised(picture, 20, 1.0), tmp_path / "level.dcm")], microns=1.0, patch=16)
    assert places(images) == [(top, left) for top in range(0, 48, 16) for left in range(0, 64, 16)]
    for image in images:
        top, left = tile(image)["top"], tile(image)["left"]
        assert np.array_equal(image.pixels, picture[top : top + 16, left : left + 16])
    assert [step.name for step in images[0].transforms] == ["decode", "colour", "tile"]


def test_the_last_tiles_are_filled_up_with_glass_and_never_with_what_lies_outside(tmp_path: Path) -> None:
    picture = stained(20, 20)
    images = slide([write(level(picture, 16, 1.0), tmp_path / "level.dcm")], microns=1.0, patch=16)
    assert np.array_equal(images[-1].pixels[:4, :4], picture[16:, 16:])
    assert (images[-1].pixels[4:] == 255).all() and (images[-1].pixels[:, 4:] == 255).all()


def test_a_tile_that_was_not_scanned_is_glass(tmp_path: Path) -> None:
    images = slide([write(sparse_level(stained(32, 32), 16, 1.0, skip=3), tmp_path / "level.dcm")],
                   microns=1.0, patch=32)
    assert (images[0].pixels[16:, 16:] == 255).all()
    assert np.array_equal(images[0].pixels[:16], stained(32, 32)[:16])


@pytest.mark.parametrize(("microns", "number", "side"), [
    (2.0, 3, 16), (1.0, 2, 32), (0.5, 1, 16), (4.0, 3, 32), (0.3, 1, 10),
])
def test_the_coarsest_level_that_is_fine_enough_is_read(
    tmp_path: Path, microns: float, number: int, side: int
) -> None:
    paths = [write(level(stained(*size), 32, scale, at), tmp_path / f"{at}.dcm")
             for at, size, scale in ((1, (128, 128), 0.5), (2, (128, 128), 0.5), (3, (32, 32), 2.0))]
    images = slide(paths, microns=microns, patch=16)
    expected = "1.2.6.3" if number == 3 else "1.2.6.1"
    assert images[0].sop_instance_uid == expected
    assert tile(images[0])["side"] == side
    assert images[0].pixels.shape == (16, 16, 3)


def test_glass_is_skipped_and_a_bounded_number_is_spread_over_the_tissue(tmp_path: Path) -> None:
    tissue = block(128, 128, 32, 64, 64, 48)
    path = write(level(stained(128, 128, tissue), 32, 1.0), tmp_path / "level.dcm")
    every = slide([path], microns=1.0, patch=16)
    assert places(every) == [(top, left) for top in range(32, 96, 16) for left in range(64, 112, 16)]
    some = slide([path], microns=1.0, patch=16, most=4)
    assert [place in places(every) for place in places(some)] == [True] * 4
    assert places(some) == sorted(places(some))
    assert len({top for top, _ in places(some)}) == 4


def test_tissue_is_looked_for_on_the_smallest_picture_and_the_label_is_never_opened(tmp_path: Path) -> None:
    tissue = block(128, 128, 0, 0, 64, 64)
    paths = [
        write(level(stained(128, 128, tissue), 32, 0.5), tmp_path / "volume.dcm"),
        write(level(stained(8, 8, tissue[::16, ::16]), 8, 8.0, 2, ImageType=["DERIVED", "PRIMARY", "THUMBNAIL"]),
              tmp_path / "thumbnail.dcm"),
        write(level(stained(4, 4), 4, 8.0, 3, ImageType=["ORIGINAL", "PRIMARY", "LABEL"], PixelData=b""),
              tmp_path / "label.dcm"),
        write(level(stained(4, 4), 4, 8.0, 4, ImageType=["ORIGINAL", "PRIMARY", "OVERVIEW"], PixelData=b""),
              tmp_path / "overview.dcm"),
    ]
    images = slide(paths, microns=0.5, patch=32)
    assert places(images) == [(0, 0), (0, 32), (32, 0), (32, 32)]
    assert {image.sop_instance_uid for image in images} == {"1.2.6.1"}


def test_of_many_tiles_some_stand_for_their_neighbours_when_tissue_is_looked_for(tmp_path: Path) -> None:
    tissue = block(256, 256, 64, 128, 128, 64)
    path = write(level(stained(256, 256, tissue), 8, 1.0), tmp_path / "level.dcm")  # 1024 tiles
    found = set(places(slide([path], microns=1.0, patch=32)))
    assert {(top, left) for top in (64, 96, 128, 160) for left in (128, 160)} <= found
    assert len(found) <= 18


def test_the_first_optical_path_and_focal_plane_of_a_full_level_are_read(tmp_path: Path) -> None:
    made = level(stained(32, 32), 16, 1.0)
    made.NumberOfFrames, made.PixelData = 8, made.PixelData + bytes(len(made.PixelData))
    images = slide([write(made, tmp_path / "level.dcm")], microns=1.0, patch=32)
    assert np.array_equal(images[0].pixels, stained(32, 32))


@pytest.mark.parametrize(("attributes", "reason"), [
    ({"ConcatenationUID": "1.2.9", "InConcatenationNumber": 1}, "concatenation"),
    ({"SharedFunctionalGroupsSequence": None}, "scale of the slide is not known"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL"]}, "no level of the slide shows tissue .found LABEL"),
    ({"TotalPixelMatrixRows": 4000}, "frames for"),
    ({"NumberOfFrames": 900_000_000, "TotalPixelMatrixRows": 500_000}, "900000000 frames, more than"),
])
def test_a_slide_that_cannot_be_used_is_declined_with_the_reason(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write(level(stained(32, 32), 16, 1.0, **attributes), tmp_path / "level.dcm")
    with pytest.raises(NotEvaluable, match=reason):
        slide([path], microns=1.0, patch=16)


@pytest.mark.parametrize(("attributes", "reason"), [
    ({"TotalPixelMatrixRows": 2_000_000_000}, "not plausible"), ({"Rows": 0, "TotalPixelMatrixRows": None}, "missing"),
    ({"PixelData": bytes(100)}, "truncated"),
])
def test_a_broken_slide_is_undecodable(tmp_path: Path, attributes: dict[str, Any], reason: str) -> None:
    path = write(level(stained(32, 32), 16, 1.0, **attributes), tmp_path / "level.dcm")
    with pytest.raises(Undecodable, match=reason):
        slide([path], microns=1.0, patch=16)


def test_too_coarse_a_slide_and_an_empty_one_are_declined(tmp_path: Path) -> None:
    coarse = write(level(stained(32, 32), 16, 4.0), tmp_path / "coarse.dcm")
    with pytest.raises(NotEvaluable, match=r"4.00 micrometres per pixel, 0.50 are needed"):
        slide([coarse], microns=0.5, patch=16)
    empty = write(level(np.full((32, 32, 3), 240, dtype=np.uint8), 16, 1.0), tmp_path / "empty.dcm")
    with pytest.raises(NotEvaluable, match="no tissue"):
        slide([empty], microns=1.0, patch=16)
    with pytest.raises(NotEvaluable, match="no instances"):
        slide([], microns=1.0, patch=16)


def test_the_scale_may_come_from_the_imaged_volume(tmp_path: Path) -> None:
    made = level(stained(32, 32), 16, 1.0, SharedFunctionalGroupsSequence=None, ImagedVolumeWidth=0.064,
                 ImagedVolumeHeight=0.064)
    images = slide([write(made, tmp_path / "level.dcm")], microns=2.0, patch=16)
    assert (tile(images[0])["microns"], tile(images[0])["side"]) == (pytest.approx(2.0), 16)


def test_a_finer_level_is_made_smaller(tmp_path: Path) -> None:
    path = write(level(stained(64, 64), 16, 0.5), tmp_path / "level.dcm")
    images = slide([path], microns=1.0, patch=16)
    assert places(images) == [(0, 0), (0, 32), (32, 0), (32, 32)]
    mean = stained(64, 64)[:32, :32].mean()
    assert images[0].pixels.mean() == pytest.approx(mean, abs=1.5)


def test_a_real_slide_gives_its_tissue() -> None:
    """Camelyon, 15 tiles in JPEG; the level has 29 micrometres per pixel."""
    images = slide([REAL / "multiframe_camelyon_challenge_image.dcm"], microns=29, patch=256)
    assert places(images) == [(0, 0), (256, 0), (256, 512), (256, 768)]
    for image in images:
        assert mask_of(image.pixels).mean() > 0.2


def test_a_grey_slide_is_declined() -> None:
    with pytest.raises(NotEvaluable, match="monochrome"):
        slide([REAL / "sm_image_grayscale.dcm"], microns=0.5, patch=10)


def test_the_cut_lies_between_glass_and_stain_and_within_bounds() -> None:
    two = np.array([3] * 500 + [90] * 200, dtype=np.uint8)
    assert 12 <= cut_of(two) < 90
    assert cut_of(np.full(50, 200, dtype=np.uint8)) <= 48
    assert cut_of(np.zeros(50, dtype=np.uint8)) == 12


def test_pen_and_black_borders_are_no_tissue() -> None:
    picture = stained(20, 30, block(20, 30, 0, 0, 20, 10))
    picture[:, 20:] = 10
    assert np.array_equal(mask_of(picture), block(20, 30, 0, 0, 20, 10))
