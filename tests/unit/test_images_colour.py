"""Colour forms, palettes, bits and shapes of pixels: each against numbers worked out by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from node.domain import ModelImage
from node.errors import Undecodable
from node.images import picture, projection
from tests.tools.pictures import palette, photograph
from tests.tools.radiographs import REAL, radiograph, write

COLOURS = np.random.default_rng(4).integers(0, 256, (6, 4, 3), dtype=np.uint8)
INDEXES = np.arange(16, dtype=np.uint8).reshape(4, 4)
RED, GREEN, BLUE = ([(entry * step) % 256 for entry in range(16)] for step in (3, 17, 5))


def shown(tmp_path: Path, stored: NDArray[Any], **attributes: Any) -> NDArray[np.uint8]:
    """The picture of these stored values without its padding."""
    return cut(picture(write(photograph(stored, **attributes), tmp_path / "picture.dcm")))


def cut(image: ModelImage) -> NDArray[np.uint8]:
    pad = parameters(image, "pad")
    top, left = pad["top"], pad["left"]
    return image.pixels[top : top + pad["rows"], left : left + pad["columns"]]


def parameters(image: ModelImage, name: str) -> dict[str, Any]:
    return next(step.parameters for step in image.transforms if step.name == name)


def full_ybr(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PS3.3 C.7.6.3.1.2, YBR_FULL."""
    matrix = np.array([[.2990, .5870, .1140], [-.1687, -.3313, .5], [.5, -.4187, -.0813]])
    return rgb.astype(float) @ matrix.T + [0, 128, 128]


def partial_ybr(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PS3.3 C.7.6.3.1.2, YBR_PARTIAL_422."""
    matrix = np.array([[.2568, .5041, .0979], [-.1482, -.2910, .4392], [.4392, -.3678, -.0714]])
    return rgb.astype(float) @ matrix.T + [16, 128, 128]


def halved(ybr: NDArray[np.float64]) -> bytes:
    """Two pixels as Y Y Cb Cr."""
    whole = np.rint(ybr).clip(0, 255).astype(np.uint8)
    pairs = whole.reshape(len(whole), -1, 2, 3)
    return np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], axis=2).tobytes()


def test_rgb_stays_as_it_is(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, COLOURS), COLOURS)


def test_planes_and_pixels_are_the_same_picture(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(COLOURS.transpose(2, 0, 1)).tobytes()
    assert np.array_equal(shown(tmp_path, COLOURS, PlanarConfiguration=1, PixelData=planes), COLOURS)


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full_becomes_rgb(tmp_path: Path, planar: int) -> None:
    ybr = np.rint(full_ybr(COLOURS)).clip(0, 255).astype(np.uint8)
    stored = np.ascontiguousarray(ybr.transpose(2, 0, 1)) if planar else ybr
    found = shown(tmp_path, COLOURS, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=planar,
                  PixelData=stored.tobytes())
    assert np.abs(found.astype(int) - COLOURS).max() <= 2


@pytest.mark.parametrize(("photometric", "to_ybr"), [("YBR_FULL_422", full_ybr), ("YBR_PARTIAL_422", partial_ybr)])
def test_two_pixels_may_share_their_colour(tmp_path: Path, photometric: str, to_ybr: Any) -> None:
    pairs = np.repeat(COLOURS[:, :2], 2, axis=1)
    found = shown(tmp_path, pairs, PhotometricInterpretation=photometric, PixelData=halved(to_ybr(pairs)))
    assert np.abs(found.astype(int) - pairs).max() <= 3


def test_sixteen_bit_colour_keeps_its_highest_eight(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, COLOURS.astype(np.uint16) << 8 | 77), COLOURS)


def test_twelve_of_sixteen_colour_bits_are_scaled_and_the_others_are_no_colour(tmp_path: Path) -> None:
    stored = COLOURS.astype(np.uint16) << 4 | 0xA000
    assert np.array_equal(shown(tmp_path, stored, BitsStored=12, HighBit=11), COLOURS)


@pytest.mark.parametrize("photometric", ["ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "XYZ"])
def test_a_retired_or_unknown_colour_form_is_refused_by_name(tmp_path: Path, photometric: str) -> None:
    with pytest.raises(Undecodable, match=photometric):
        shown(tmp_path, COLOURS, PhotometricInterpretation=photometric)


def test_a_fourth_sample_is_refused(tmp_path: Path) -> None:
    stored = np.zeros((2, 2, 4), dtype=np.uint8)
    with pytest.raises(Undecodable, match=r"[Ss]amples"):
        shown(tmp_path, stored, SamplesPerPixel=4)


@pytest.mark.parametrize("form", [{"packed": True}, {"packed": False}, {"bits": 16}])
def test_a_palette_of_eight_or_sixteen_bits_is_looked_up(tmp_path: Path, form: dict[str, Any]) -> None:
    scale = 256 if form.get("bits") == 16 else 1
    tables = [[entry * scale for entry in entries] for entries in (RED, GREEN, BLUE)]
    found = shown(tmp_path, INDEXES, **palette(tables, **form))
    assert np.array_equal(found.reshape(-1, 3), np.array([RED, GREEN, BLUE]).T)


def test_sixteen_bit_indexes_reach_every_entry_of_an_eight_bit_palette(tmp_path: Path) -> None:
    stored = np.array([[0, 255], [256, 599]], dtype=np.uint16)
    grey = [entry % 251 for entry in range(600)]
    found = shown(tmp_path, stored, **palette([grey] * 3))
    assert found[:, :, 0].tolist() == [[0, 255 % 251], [256 % 251, 599 % 251]]


def test_values_outside_a_palette_take_its_nearest_end(tmp_path: Path) -> None:
    found = shown(tmp_path, INDEXES, **palette([[10, 20, 30]] * 3, first=4))
    assert found[:2, :, 0].reshape(-1).tolist() == [10, 10, 10, 10, 10, 20, 30, 30]


def test_a_palette_may_begin_below_zero(tmp_path: Path) -> None:
    stored = np.array([[-2, -1], [0, 1]], dtype=np.int16)
    found = shown(tmp_path, stored, **palette([[1, 2, 3, 4]] * 3, first=-2))
    assert found[:, :, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_in_segments_is_written_out(tmp_path: Path, bits: int) -> None:
    """Discrete 10 20, a line of four to 60, then the line again (PS3.3 C.7.9.2)."""
    scale = 1 if bits == 8 else 256
    line = 4 * (bits // 8)
    again = [2, 1, line, 0, 0, 0] if bits == 8 else [2, 1, line, 0]
    segments = [0, 2, 10 * scale, 20 * scale, 1, 4, 60 * scale, *again]
    stored = np.arange(10, dtype=np.uint8).reshape(2, 5)
    found = shown(tmp_path, stored, **palette([segments] * 3, bits=bits, segmented=True, count=10))
    assert found[:, :, 0].reshape(-1).tolist() == [10, 20, 30, 40, 50, 60, 60, 60, 60, 60]


@pytest.mark.parametrize(("segments", "reason"), [
    ([1, 4, 60, 0], "out of place"), ([2, 1, 0, 0, 0, 0], "out of place"), ([0, 2, 10, 20], "2 of 16 entries"),
    ([9, 9, 9, 9], "out of place"),
])
def test_segments_that_make_no_table_are_refused(tmp_path: Path, segments: list[int], reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        shown(tmp_path, INDEXES, **palette([segments] * 3, segmented=True, count=16))


def test_a_palette_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Undecodable, match="no Palette Color Lookup Table"):
        shown(tmp_path, INDEXES, PhotometricInterpretation="PALETTE COLOR")


def test_eight_bits_without_a_window_are_shown_as_stored_in_a_picture_and_stretched_in_a_radiograph(
    tmp_path: Path
) -> None:
    stored = np.array([[50, 60], [70, 80]], dtype=np.uint8)
    assert shown(tmp_path, stored)[:, :, 0].tolist() == stored.tolist()
    stretched = projection(write(radiograph(stored), tmp_path / "radiograph.dcm")).pixels[:, :, 0]
    assert stretched.tolist() == [[0, 85], [170, 255]]


def test_a_sixteen_bit_photograph_is_stretched_to_its_range(tmp_path: Path) -> None:
    stored = np.array([[1000, 2000], [3000, 6100]], dtype=np.uint16)
    assert shown(tmp_path, stored)[:, :, 0].tolist() == [[0, 50], [100, 255]]


def test_single_bits_are_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    found = shown(tmp_path, bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    assert np.array_equal(found[:, :, 0], bits * 255)


def test_thirty_two_bit_values_keep_their_order(tmp_path: Path) -> None:
    stored = np.array([[0, 1 << 20], [1 << 30, 1 << 31]], dtype=np.uint32)
    assert shown(tmp_path, stored)[:, :, 0].tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_float_pixel_data_are_stretched_to_their_range(tmp_path: Path, keyword: str, kind: str) -> None:
    stored = np.array([[-1.5, 0.0], [0.5, 3.5]], dtype=kind)
    attributes: dict[str, Any] = {
        "PixelData": None, keyword: stored.tobytes(), "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
    assert shown(tmp_path, stored, **attributes)[:, :, 0].tolist() == [[0, 76], [102, 255]]


def test_values_in_the_high_bits_and_overlay_in_the_low_ones(tmp_path: Path) -> None:
    values = np.array([[0, 1365], [2730, 4095]], dtype=np.uint16)
    assert shown(tmp_path, values << 4 | 0x5, BitsStored=12, HighBit=15)[:, :, 0].tolist() == [[0, 85], [170, 255]]


@pytest.mark.parametrize(("stated", "shape"), [
    ({"PixelAspectRatio": [2, 1]}, (8, 4)), ({"PixelAspectRatio": [1, 2]}, (4, 8)),
    ({"PixelSpacing": [0.3, 0.1]}, (12, 4)), ({"ImagerPixelSpacing": [0.1, 0.1]}, (4, 4)),
    ({"PixelAspectRatio": [1, 100]}, (4, 4)), ({"PixelAspectRatio": [0, 1]}, (4, 4)),
])
def test_pixels_are_made_square(tmp_path: Path, stated: dict[str, Any], shape: tuple[int, int]) -> None:
    assert shown(tmp_path, INDEXES, **stated).shape[:2] == shape
    upright = projection(write(radiograph(INDEXES, **stated), tmp_path / "radiograph.dcm"))
    assert (parameters(upright, "pad")["rows"], parameters(upright, "pad")["columns"]) == shape


def test_an_icc_profile_is_followed_to_srgb_or_left_on_request(tmp_path: Path) -> None:
    """A profile made of sRGB changes nothing; what is no profile is named and changes nothing either."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = write(photograph(COLOURS, ICCProfile=srgb + b"\x00" * (len(srgb) % 2)), tmp_path / "srgb.dcm")
    image = picture(path)
    assert parameters(image, "icc_profile")["applied"]
    assert np.abs(cut(image).astype(int) - COLOURS).max() <= 1
    assert "icc_profile" not in [step.name for step in picture(path, to_srgb=False).transforms]
    broken = picture(write(photograph(COLOURS, ICCProfile=b"no profile"), tmp_path / "broken.dcm"))
    assert not parameters(broken, "icc_profile")["applied"]
    assert np.array_equal(cut(broken), COLOURS)


def test_an_icc_profile_changes_the_colours_as_the_colour_engine_does(tmp_path: Path) -> None:
    swapped = _swapped_profile()
    image = picture(write(photograph(COLOURS, ICCProfile=swapped), tmp_path / "swapped.dcm"))
    expected = ImageCms.profileToProfile(
        Image.fromarray(COLOURS), io.BytesIO(swapped), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert not np.array_equal(cut(image), COLOURS)
    assert np.array_equal(cut(image), np.asarray(expected))


def _swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries have changed places."""
    whole = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = whole[132 : 132 + 12 * int.from_bytes(whole[128:132], "big")]
    at = {bytes(tags[place : place + 4]): 132 + place for place in range(0, len(tags), 12)}
    red, blue = at[b"rXYZ"], at[b"bXYZ"]
    whole[red + 4 : red + 8], whole[blue + 4 : blue + 8] = whole[blue + 4 : blue + 8], whole[red + 4 : red + 8]
    return bytes(whole)


def test_a_real_ultrasound_with_tall_pixels_is_drawn_out() -> None:
    """RGB by planes, Pixel Aspect Ratio 4 to 3."""
    image = picture(REAL / "color-pl.dcm")
    assert cut(image).shape == (160, 256, 3)
    assert parameters(image, "square_pixels")["rows"] == 120


def test_a_photograph_is_never_turned() -> None:
    image = picture(REAL / "xc_example.dcm")
    assert not image.side_known
    assert [step.name for step in image.transforms] == ["decode", "colour", "pad"]
