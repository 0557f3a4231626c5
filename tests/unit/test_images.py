"""Pixels: every transform against numbers worked out by hand, every encoding against every other, DCMTK as judge."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from node.domain import ModelImage
from node.errors import Undecodable
from node.images import projection
from tests.tools.radiographs import REAL, radiograph, write

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def shown(tmp_path: Path, stored: NDArray[Any], **attributes: Any) -> NDArray[np.uint8]:
    """One channel of the model image of a square radiograph."""
    return projection(write(radiograph(stored, **attributes), tmp_path / "image.dcm")).pixels[:, :, 0]


def parameters(image: ModelImage, name: str) -> dict[str, Any]:
    return next(step.parameters for step in image.transforms if step.name == name)


def linear(values: NDArray[Any], center: float, width: float) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1, written out element by element."""
    out = np.empty(values.shape)
    for place, x in np.ndenumerate(values):
        if x <= center - 0.5 - (width - 1) / 2:
            out[place] = 0
        elif x > center - 0.5 + (width - 1) / 2:
            out[place] = 255
        else:
            out[place] = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(out)


def table(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, dtype="<u2").tobytes())
    return item


def test_a_linear_window_is_that_of_the_standard(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, RAMP, WindowCenter=2000, WindowWidth=1000), linear(RAMP, 2000, 1000))


def test_a_linear_exact_window_reaches_half_at_its_center(tmp_path: Path) -> None:
    grey = shown(tmp_path, np.array([[1500, 1750], [2000, 2500]], dtype=np.uint16),
                 WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    assert grey.tolist() == [[0, 64], [128, 255]]


def test_a_sigmoid_follows_its_formula(tmp_path: Path) -> None:
    grey = shown(tmp_path, RAMP, WindowCenter=2048, WindowWidth=1024, VOILUTFunction="SIGMOID")
    assert np.array_equal(grey, np.rint(255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2048) / 1024))))


def test_the_first_of_several_windows_is_used(tmp_path: Path) -> None:
    grey = shown(tmp_path, RAMP, WindowCenter=[2000, 40], WindowWidth=[1000, 80])
    assert np.array_equal(grey, linear(RAMP, 2000, 1000))


@pytest.mark.parametrize("width", [0.5, 0, -7])
def test_a_window_below_one_falls_back_to_the_range_of_values(tmp_path: Path, width: float) -> None:
    path = write(radiograph(RAMP, WindowCenter=2000, WindowWidth=width), tmp_path / "image.dcm")
    image = projection(path)
    assert parameters(image, "value_range")["reason"] == f"window width {width:g} is not usable"
    assert (image.pixels.min(), image.pixels.max()) == (0, 255)


def test_a_window_that_leaves_one_grey_falls_back_to_the_range_of_values(tmp_path: Path) -> None:
    image = projection(write(radiograph(RAMP, WindowCenter=60000, WindowWidth=10), tmp_path / "image.dcm"))
    assert (image.pixels.min(), image.pixels.max()) == (0, 255)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    grey = shown(tmp_path, RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=2000, WindowWidth=3000)
    assert np.array_equal(grey, linear(RAMP.astype(float) * 2 - 1000, 2000, 3000))


def test_a_negative_slope_turns_the_greys_round(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, RAMP, RescaleSlope=-1, RescaleIntercept=4095)[::-1, ::-1],
                          shown(tmp_path, RAMP))


def test_a_modality_lut_takes_the_place_of_rescale(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 9]], dtype=np.uint8)
    grey = shown(tmp_path, stored, ModalityLUTSequence=[table(1, [10, 110, 210], 16)], RescaleSlope=99)
    assert grey.tolist() == [[0, 0], [128, 255]]


def test_a_voi_lut_goes_before_a_window(tmp_path: Path) -> None:
    stored = np.array([[-2, -1], [0, 5]], dtype=np.int16)
    grey = shown(tmp_path, stored, VOILUTSequence=[table(-1, [0, 1023, 4095], 12)], WindowCenter=1, WindowWidth=2)
    assert grey.tolist() == [[0, 0], [64, 255]]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, RAMP, PhotometricInterpretation="MONOCHROME1"), 255 - shown(tmp_path, RAMP))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_presentation_lut_inverts_once_in_all(tmp_path: Path, photometric: str) -> None:
    grey = shown(tmp_path, RAMP, PhotometricInterpretation=photometric, PresentationLUTShape="INVERSE")
    assert np.array_equal(grey, 255 - shown(tmp_path, RAMP))


def test_bits_above_bits_stored_are_no_pixels(tmp_path: Path) -> None:
    junk = RAMP | np.uint16(0xA000)
    assert np.array_equal(shown(tmp_path, junk, BitsStored=12, HighBit=11), shown(tmp_path, RAMP))


def test_signed_values_below_sixteen_bits_keep_their_sign(tmp_path: Path) -> None:
    stored = np.array([[0xF800 & 0x0FFF, 0], [1, 0x07FF]], dtype=np.uint16)
    grey = shown(tmp_path, stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert grey.tolist() == [[0, 128], [128, 255]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_does_not_widen_the_range_and_is_black(tmp_path: Path, photometric: str) -> None:
    stored = np.array([[100, 200], [60000, 60001]], dtype=np.uint16)
    grey = shown(tmp_path, stored, PhotometricInterpretation=photometric,
                 PixelPaddingValue=60001, PixelPaddingRangeLimit=60000)
    assert sorted(grey[0].tolist()) == [0, 255]
    assert grey[1].tolist() == [0, 0]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_each_of_the_eight_ways_to_lay_a_chest_is_brought_upright(tmp_path: Path, turns: int, mirrored: bool) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(3, 2) * 50
    stored, (row, column) = upright, ("L", "F")
    opposite = {"L": "R", "R": "L", "H": "F", "F": "H"}
    if mirrored:
        stored, row = stored[:, ::-1], opposite[row]
    for _ in range(turns):  # a quarter turn to the left: columns' direction becomes rows'
        stored, (row, column) = np.rot90(stored), (column, opposite[row])
    path = write(radiograph(np.ascontiguousarray(stored), PatientOrientation=[row, column]), tmp_path / "turned.dcm")
    image = projection(path)
    assert image.side_known
    assert np.array_equal(image.pixels[:, :2, 0], np.rint(upright / 250 * 255))


@pytest.mark.parametrize("orientation", [None, ["L"], ["L", "R"], ["A", "F"], ["P", "F"], ["LE", "D"], ["X", "F"]])
def test_an_orientation_that_is_no_frontal_view_leaves_the_image_and_withholds_the_side(
    tmp_path: Path, orientation: list[str] | None
) -> None:
    image = projection(write(radiograph(RAMP, PatientOrientation=orientation), tmp_path / "image.dcm"))
    assert not image.side_known
    assert np.array_equal(image.pixels[:, :, 0], shown(tmp_path, RAMP))


def test_the_shorter_axis_is_padded_on_both_sides_and_the_numbers_lead_back(tmp_path: Path) -> None:
    stored = np.full((3, 8), 7, dtype=np.uint8)
    stored[1, 6] = 200
    turned = np.ascontiguousarray(stored[:, ::-1])
    image = projection(write(radiograph(turned, PatientOrientation=["R", "F"]), tmp_path / "wide.dcm"))
    pad, orient = parameters(image, "pad"), parameters(image, "orient")
    row, column = (int(index[0]) for index in np.nonzero(image.pixels[:, :, 0] == 255))
    assert image.pixels.shape == (8, 8, 3)
    assert (pad["top"], pad["left"], pad["rows"], pad["columns"]) == (2, 0, 3, 8)
    assert orient["flip_horizontal"]
    assert turned[row - pad["top"], orient["columns"] - 1 - (column - pad["left"])] == 200


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_gives_equal_images(tmp_path: Path, syntax: UID) -> None:
    image = dcmread(REAL / "ct_image.dcm")
    image.compress(syntax, generate_instance_uid=False)
    image.save_as(tmp_path / "other.dcm")
    assert np.array_equal(projection(tmp_path / "other.dcm").pixels, projection(REAL / "ct_image.dcm").pixels)


@pytest.mark.parametrize("option", ["+ti", "+te", "+tb", "+td"], ids=["implicit", "explicit", "big", "deflated"])
@pytest.mark.parametrize("name", ["ct_image.dcm", "cxr.dcm", "vlut_04.dcm", "examples_palette.dcm"])
def test_native_encodings_written_by_dcmtk_give_equal_images(tmp_path: Path, name: str, option: str) -> None:
    subprocess.run(["dcmconv", option, str(REAL / name), str(tmp_path / name)], check=True, capture_output=True)
    assert np.array_equal(projection(tmp_path / name).pixels, projection(REAL / name).pixels)


@pytest.mark.parametrize(("name", "voi"), [
    ("cxr.dcm", "+Wi"), ("CR1_6154", "+Wi"), ("vlut_04.dcm", "+Wl"), ("RG1_J2KI.dcm", "+Wi"),
])
def test_dcmtk_shows_the_same_picture(tmp_path: Path, name: str, voi: str) -> None:
    """The greatest difference is one grey level: DCMTK rounds down where we round to the nearest."""
    image = dcmread(REAL / name)
    if image.file_meta.TransferSyntaxUID.is_compressed:
        image.decompress()
    image.save_as(tmp_path / "native.dcm")
    subprocess.run(["dcm2pnm", voi, "1", "+op", str(tmp_path / "native.dcm"), str(tmp_path / "shown.pgm")],
                   check=True, capture_output=True)
    ours, theirs = projection(REAL / name), pgm(tmp_path / "shown.pgm")
    pad = parameters(ours, "pad")
    cut = ours.pixels[pad["top"] : pad["top"] + pad["rows"], pad["left"] : pad["left"] + pad["columns"], 0]
    assert int(np.abs(cut.astype(int) - theirs.astype(int)).max()) <= 1


def pgm(path: Path) -> NDArray[np.uint8]:
    _, size, _, pixels = path.read_bytes().split(b"\n", 3)
    columns, rows = (int(number) for number in size.split())
    return np.frombuffer(pixels, dtype=np.uint8, count=rows * columns).reshape(rows, columns)


def test_the_real_chest_has_dark_lungs_and_its_heart_on_image_right() -> None:
    """RG1: MONOCHROME1, JPEG 2000, L\\F. The heart makes the lower half brighter on the image's right."""
    image = projection(REAL / "RG1_J2KI.dcm")
    grey = image.pixels[:, :, 0].astype(float)
    lower = grey[1100:1500]
    assert image.side_known and image.pixels.shape == (1955, 1955, 3)
    assert lower[:, 1000:1250].mean() > lower[:, 700:950].mean()
    assert grey[700:1000, 500:700].mean() < grey[700:1000, 930:1020].mean()


def test_colour_stays_colour() -> None:
    image = projection(REAL / "xc_example.dcm")
    assert image.pixels.shape == (500, 500, 3)
    assert image.pixels.dtype == np.uint8
    assert [step.name for step in image.transforms] == ["decode", "colour", "orient", "pad"]


def test_subsampled_ybr_becomes_the_rgb_it_means() -> None:
    image = projection(REAL / "SC_ybr_full_422_uncompressed.dcm")
    assert image.pixels[5, 50].tolist() == [254, 0, 0]


def test_a_palette_is_applied() -> None:
    image = projection(REAL / "examples_palette.dcm")
    assert len({tuple(pixel) for pixel in image.pixels.reshape(-1, 3)[::97]}) > 10


def test_planar_configuration_makes_no_difference(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    common = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    by_plane = np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes()
    pixel = write(radiograph(colours, PlanarConfiguration=0, **common), tmp_path / "pixel.dcm")
    plane = write(radiograph(colours, PlanarConfiguration=1, PixelData=by_plane, **common), tmp_path / "plane.dcm")
    assert np.array_equal(projection(pixel).pixels, colours)
    assert np.array_equal(projection(plane).pixels, colours)


@pytest.mark.parametrize(("attributes", "reason"), [
    ({"PixelData": b"\x00" * 100}, "pixel data truncated: 100 of 512 bytes"),
    ({"PixelData": None}, "no Pixel Data"),
    ({"PixelData": b""}, "Pixel Data is empty"),
    ({"BitsAllocated": 12}, "Bits Allocated 12 is not supported"),
    ({"Rows": None}, "Rows missing or 0"),
    ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 1}, "'HSV'"),
    ({"Rows": 65535, "Columns": 65535}, "one frame takes 8589672450 bytes"),
])
def test_what_cannot_be_shown_is_refused_with_the_reason(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write(radiograph(RAMP, **attributes), tmp_path / "image.dcm")
    with pytest.raises(Undecodable, match=reason):
        projection(path)


@pytest.mark.parametrize(("like", "syntax", "name"), [
    ("1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.110", "JPEG XL"),
    ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.53", "Process 6 and 8"),
])
def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path, like: str, syntax: str, name: str) -> None:
    path = write(radiograph(RAMP, PixelData=encapsulate([b"\xff\x0a" * 20])), tmp_path / "image.dcm", UID(like))
    path.write_bytes(path.read_bytes().replace(like.encode(), syntax.encode()))
    with pytest.raises(Undecodable, match=rf"no decoder for transfer syntax {syntax} .*{name}"):
        projection(path)


def test_deflated_frames_have_no_decoder_either() -> None:
    with pytest.raises(Undecodable, match="Deflated Image Frame Compression"):
        projection(REAL / "liver_nonbyte_aligned_deflate.dcm")


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG2_JPLY_fixed.dcm"])
def test_a_cut_off_code_stream_is_refused_and_never_filled_with_grey(tmp_path: Path, name: str) -> None:
    image = dcmread(REAL / name)
    whole = b"".join(fragment for fragment in _fragments(image.PixelData))
    image.PixelData = encapsulate([whole[: len(whole) // 2]])
    image.save_as(tmp_path / name)
    with pytest.raises(Undecodable, match="truncated"):
        projection(tmp_path / name)


def _fragments(value: bytes) -> list[bytes]:
    parts, position = [], 0
    while value[position : position + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack_from("<I", value, position + 4)
        parts.append(value[position + 8 : position + 8 + length])
        position += 8 + length
    return parts[1:]


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "cxr.dcm", "TC0277_missing_delim.dcm", "report_dfl"])
def test_a_file_cut_anywhere_gives_an_image_or_a_reason(tmp_path: Path, name: str) -> None:
    whole = (REAL / name).read_bytes()
    for part in (0, 100, 140, 400, len(whole) // 3, len(whole) - 100):
        (tmp_path / name).write_bytes(whole[:part])
        with pytest.raises(Undecodable):
            projection(tmp_path / name)
