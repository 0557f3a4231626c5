"""One picture in every form: each encoding, orientation, bit layout and VOI gives the same model image; DCMTK judges.

Stated tolerances. Two forms of one picture: equal. A VOI LUT against the window it stands for: one grey level.
DCMTK's rendering: one grey level (it rounds down where we round to the nearest), three for lossy JPEG of twelve bits.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from node import header
from node.demo.phantom import draw
from node.domain import ModelImage
from node.images import Family, cine, family, picture, projection
from tests.tools.pictures import clip, photograph
from tests.tools.radiographs import REAL, radiograph, write

STORED = np.rint(draw(5, 64).image * 4095).astype(np.uint16)
"""A phantom of 64 by 64 pixels in twelve bits."""
COLOURS = np.stack([STORED // 16, STORED[::-1] // 16, STORED.T // 17], axis=2).astype(np.uint8)
WINDOW = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 1800.0, "WindowWidth": 2401.0}
MOVING = np.stack([np.roll(STORED // 16, 7 * step, axis=0) for step in range(3)]).astype(np.uint8)

PICTURES: dict[str, Callable[[], Dataset]] = {
    "grey 8": lambda: radiograph((STORED // 16).astype(np.uint8)),
    "grey 12 of 16": lambda: radiograph(STORED, **WINDOW),
    "grey 16": lambda: radiograph(STORED * 16 + 3),
    "grey 16 signed": lambda: radiograph((STORED.astype(np.int32) * 16 - 30000).astype(np.int16)),
    "colour 8": lambda: photograph(COLOURS),
    "cine 8": lambda: clip(MOVING),
}


def by_pydicom(syntax: UID) -> Callable[[Path, Path], None]:
    def encode(native: Path, encoded: Path) -> None:
        image = dcmread(native)
        image.compress(syntax, generate_instance_uid=False)
        image.save_as(encoded)
    return encode


def by_dcmtk(*command: str) -> Callable[[Path, Path], None]:
    def encode(native: Path, encoded: Path) -> None:
        subprocess.run([*command, str(native), str(encoded)], check=True, capture_output=True)
    return encode


LOSSLESS = {
    "implicit": by_dcmtk("dcmconv", "+ti"), "big endian": by_dcmtk("dcmconv", "+tb"),
    "deflated": by_dcmtk("dcmconv", "+td"), "RLE of pydicom": by_pydicom(RLELossless),
    "RLE of DCMTK": by_dcmtk("dcmcrle"), "JPEG-LS of pydicom": by_pydicom(JPEGLSLossless),
    "JPEG-LS of DCMTK": by_dcmtk("dcmcjpls"), "JPEG 2000": by_pydicom(JPEG2000Lossless),
    "JPEG process 14": by_dcmtk("dcmcjpeg", "+el"), "JPEG process 14 SV1": by_dcmtk("dcmcjpeg", "+e1"),
}


def images_of(path: Path) -> tuple[ModelImage, ...]:
    kind = family(header.read(path))
    if kind is Family.CINE:
        return cine(path)
    return (picture(path),) if kind is Family.PICTURE else (projection(path),)


def test_a_forms_pixels_are_the_ones_that_were_stored(tmp_path: Path) -> None:
    """So that equality below says something."""
    path = write(PICTURES["grey 12 of 16"](), tmp_path / "native.dcm")
    assert np.array_equal(pixel_array(path), STORED)
    assert len(np.unique(projection(path).pixels)) > 100


@pytest.mark.parametrize("encoding", LOSSLESS)
@pytest.mark.parametrize("name", PICTURES)
def test_every_lossless_syntax_gives_the_same_model_image(tmp_path: Path, name: str, encoding: str) -> None:
    native = write(PICTURES[name](), tmp_path / "native.dcm")
    LOSSLESS[encoding](native, tmp_path / "encoded.dcm")
    ours, others = images_of(tmp_path / "encoded.dcm"), images_of(native)
    assert [image.frame for image in ours] == [image.frame for image in others]
    for one, other in zip(ours, others, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


VALUES = STORED.astype(np.int64)
LOW, HIGH = 1800 - 0.5 - 1200, 1800 - 0.5 + 1200


def lut(entries: NDArray[Any], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return item


def shown_by_window() -> NDArray[np.float64]:
    """What WINDOW makes of 0..4095, 0..1."""
    return np.clip((np.arange(4096) - LOW) / (HIGH - LOW), 0, 1)


def ramp() -> Dataset:
    return lut(np.rint(shown_by_window() * 65535), 0, 16)


SAME: dict[str, Callable[[], Dataset]] = {
    "inverted": lambda: radiograph(
        (4095 - VALUES).astype(np.uint16), **{**WINDOW, "WindowCenter": 4095 - 1800 + 1.0},
        PhotometricInterpretation="MONOCHROME1"),
    "inverted by its presentation": lambda: radiograph(
        (4095 - VALUES).astype(np.uint16), **{**WINDOW, "WindowCenter": 4095 - 1800 + 1.0},
        PresentationLUTShape="INVERSE"),
    "signed": lambda: radiograph((VALUES - 2048).astype(np.int16), **{**WINDOW, "WindowCenter": 1800.0 - 2048}),
    "signed, with an intercept": lambda: radiograph(
        (VALUES - 2048).astype(np.int16), RescaleSlope=1, RescaleIntercept=2048, **WINDOW),
    "signed twelve bits with junk above": lambda: radiograph(
        ((VALUES - 2048) & 0x0FFF | 0x5000).astype(np.uint16), PixelRepresentation=1, RescaleSlope=1,
        RescaleIntercept=2048, **WINDOW),
    "negative slope": lambda: radiograph(
        (4095 - VALUES).astype(np.uint16), RescaleSlope=-1, RescaleIntercept=4095, **WINDOW),
    "steeper slope": lambda: radiograph(
        STORED, RescaleSlope=2, RescaleIntercept=-100, **{**WINDOW, "WindowCenter": 3499.5, "WindowWidth": 4801.0}),
    "linear exact": lambda: radiograph(
        STORED, VOILUTFunction="LINEAR_EXACT", **{**WINDOW, "WindowCenter": 1799.5, "WindowWidth": 2400.0}),
    "linear, spelt out": lambda: radiograph(STORED, VOILUTFunction="LINEAR", **WINDOW),
    "the first of two windows": lambda: radiograph(
        STORED, **{**WINDOW, "WindowCenter": [1800, 40], "WindowWidth": [2401, 80]}),
    "junk above bits stored": lambda: radiograph(STORED | np.uint16(0xB000), **WINDOW),
    "in the highest bits": lambda: radiograph(STORED << 4 | 9, **{**WINDOW, "HighBit": 15}),
    "in thirty-two bits": lambda: radiograph(STORED.astype(np.uint32), **WINDOW),
    "a modality LUT of itself": lambda: radiograph(
        STORED, ModalityLUTSequence=[lut(np.arange(4096), 0, 16)], **WINDOW),
    "a VOI LUT": lambda: radiograph(STORED, VOILUTSequence=[ramp()], **WINDOW),
    "a VOI LUT of signed values": lambda: radiograph(
        (VALUES - 2048).astype(np.int16), RescaleSlope=1, RescaleIntercept=2048, VOILUTSequence=[ramp()], **WINDOW),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_that_renders_the_same_picture_gives_the_same_model_image(tmp_path: Path, form: str) -> None:
    plain = projection(write(radiograph(STORED, **WINDOW), tmp_path / "plain.dcm")).pixels.astype(int)
    found = projection(write(SAME[form](), tmp_path / "form.dcm")).pixels.astype(int)
    tolerance = 1 if "VOI LUT" in form else 0
    assert np.abs(found - plain).max() <= tolerance


def test_the_range_of_values_is_the_window_over_it(tmp_path: Path) -> None:
    low, high = int(STORED.min()), int(STORED.max())
    window = {"VOILUTFunction": "LINEAR_EXACT", "WindowCenter": (low + high) / 2, "WindowWidth": float(high - low)}
    plain = write(radiograph(STORED, BitsStored=12, HighBit=11), tmp_path / "plain.dcm")
    windowed = write(radiograph(STORED, BitsStored=12, HighBit=11, **window), tmp_path / "windowed.dcm")
    assert np.array_equal(projection(plain).pixels, projection(windowed).pixels)


OPPOSITE = {"L": "R", "R": "L", "H": "F", "F": "H"}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_phantom_laid_in_any_of_eight_ways_gives_the_same_upright_image(
    tmp_path: Path, turns: int, mirrored: bool
) -> None:
    tall = STORED[:, 4:52]
    stored, (row, column) = tall, ("L", "F")
    if mirrored:
        stored, row = stored[:, ::-1], OPPOSITE[row]
    for _ in range(turns):  # a quarter turn to the left: the columns' direction becomes the rows'
        stored, (row, column) = np.rot90(stored), (column, OPPOSITE[row])
    laid = radiograph(np.ascontiguousarray(stored), PatientOrientation=[row, column], **WINDOW)
    upright = projection(write(radiograph(np.ascontiguousarray(tall), **WINDOW), tmp_path / "upright.dcm"))
    found = projection(write(laid, tmp_path / "laid.dcm"))
    assert found.side_known
    assert np.array_equal(found.pixels, upright.pixels)


@pytest.mark.parametrize("orientation", [
    None, ["L"], ["L", "L"], ["R", "L"], ["H", "F"], ["A", "F"], ["P", "H"], ["L", "A"], ["L", "F", "H"], ["?", "F"],
])
def test_an_implausible_orientation_withholds_the_side_and_turns_nothing(
    tmp_path: Path, orientation: list[str] | None
) -> None:
    found = projection(write(radiograph(STORED, PatientOrientation=orientation, **WINDOW), tmp_path / "odd.dcm"))
    upright = projection(write(radiograph(STORED, **WINDOW), tmp_path / "upright.dcm"))
    assert not found.side_known
    assert np.array_equal(found.pixels, upright.pixels)


JUDGED = {
    "cxr.dcm": ("+Wi", "1"), "CR1_6154": ("+Wi", "1"), "dx_image.dcm": ("+Wi", "1"), "vlut_04.dcm": ("+Wl", "1"),
    "RG1_J2KI.dcm": ("+Wi", "1"), "RG2_JPLY_fixed.dcm": ("+Wi", "1"), "encapsulated_cxr.dcm": ("+Wm",),
    "image_dfl": ("+Wm",), "NM1_JLSN.dcm": ("+Wm",), "examples_palette.dcm": (), "SC_ybr_full_422_uncompressed.dcm": (),
    "SC_rgb_rle_16bit_2frame.dcm": (), "SC_rgb_dcmtk_pebpcyps4.dcm": (), "SC_rgb_jls_lossy_line.dcm": (),
    "GDCMJ2K_TextGBR.dcm": (), "OBXXXX1A_rle_2frame.dcm": (), "SC_rgb_rle_32bit.dcm": (), "SC_rgb_small_odd.dcm": (),
    "sample-op.dcm": ("+Ww", "128", "256"),
}
"""Real files and the VOI that dcm2pnm is asked for: first window, first VOI LUT, range of values, none."""
TOOLS = {"1.2.840.10008.1.2.4.5": "dcmj2pnm", "1.2.840.10008.1.2.4.7": "dcmj2pnm", "1.2.840.10008.1.2.4.8": "dcml2pnm"}


@pytest.mark.parametrize("name", JUDGED)
def test_dcmtk_shows_the_real_files_alike(tmp_path: Path, name: str) -> None:
    theirs = rendered_by_dcmtk(REAL / name, JUDGED[name], tmp_path)
    ours = as_stored(images_of(REAL / name)[0])
    ours = ours if theirs.ndim == 3 else ours[:, :, 0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def rendered_by_dcmtk(path: Path, voi: tuple[str, ...], folder: Path) -> NDArray[np.int64]:
    """The first frame, without overlays; what DCMTK cannot decode goes through pydicom's lossless writing first."""
    syntax = dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    tool = next((tool for begin, tool in TOOLS.items() if syntax.startswith(begin)), "dcm2pnm")
    if syntax.startswith("1.2.840.10008.1.2.4.9"):
        image = dcmread(path)
        image.decompress()
        path = folder / "native.dcm"
        image.save_as(path)
    subprocess.run([tool, "-O", *voi, "+F", "1", str(path), str(folder / "shown.pnm")], check=True, capture_output=True)
    return np.asarray(Image.open(folder / "shown.pnm")).astype(np.int64)


def as_stored(image: ModelImage) -> NDArray[np.uint8]:
    """The image with padding and orientation undone, by the numbers in its transforms."""
    steps = {step.name: step.parameters for step in image.transforms}
    pad, orient = steps["pad"], steps.get("orient")
    found = image.pixels[pad["top"] : pad["top"] + pad["rows"], pad["left"] : pad["left"] + pad["columns"]]
    if orient is None:
        return found
    found = found[::-1] if orient["flip_vertical"] else found
    found = found[:, ::-1] if orient["flip_horizontal"] else found
    return found.swapaxes(0, 1) if orient["transpose"] else found


def test_a_lossy_photograph_is_what_dcmtk_makes_of_it(tmp_path: Path) -> None:
    """JPEG baseline in YBR_FULL_422 as cameras write it: at most three grey levels, half of one on average."""
    write(photograph(COLOURS), tmp_path / "native.dcm")
    subprocess.run(["dcmcjpeg", "+eb", "+cy", "+q", "95", str(tmp_path / "native.dcm"), str(tmp_path / "lossy.dcm")],
                   check=True, capture_output=True)
    theirs = rendered_by_dcmtk(tmp_path / "lossy.dcm", (), tmp_path)
    difference = np.abs(picture(tmp_path / "lossy.dcm").pixels.astype(int) - theirs)
    assert difference.max() <= 3
    assert difference.mean() <= 0.5


def test_a_jfif_stream_that_calls_itself_rgb_is_shown_in_its_true_colours() -> None:
    """Black letters on white; DCMTK believes the head and shows green on red."""
    image = picture(REAL / "xc_example.dcm")
    assert image.pixels[0, 0].tolist() == [255, 255, 255]
    assert int(np.ptp(image.pixels.astype(int), axis=2).max()) <= 2
