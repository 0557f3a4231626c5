"""Slices of CT and MR: every tone against numbers worked out by hand, every encoding alike, DCMTK as judge."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.domain import ModelImage
from node.errors import BadInput, NotEvaluable, Undecodable
from node.images import MEDGEMMA_CT, MEDSIGLIP_CT, MR, Limits, Slice, Tone, grouped, volume
from node.images.lookup import Window
from node.images.measured import measured, measured_range
from node.images.shades import HeaderWindow
from node.images.tone import graded
from tests.tools.radiographs import REAL, write
from tests.tools.volumes import ct_slice, enhanced, frame_group, item, sparse

HU = np.arange(-1024, 3072, 16).reshape(16, 16)
STORED = (HU + 1024).astype(np.uint16)
CHANNELS = ((-1024, 1024), (-135, 215), (0, 80))


def images(tmp_path: Path, *heads: Dataset, tone: Tone = MEDSIGLIP_CT) -> list[ModelImage]:
    """The model images of the main acquisition."""
    main = grouped([write(head, tmp_path / f"{number}.dcm") for number, head in enumerate(heads)]).main
    assert main is not None
    return list(volume(main, main.slices, tone))


def grey(tmp_path: Path, stored: NDArray[Any] = STORED, tone: Tone = MEDSIGLIP_CT, **attributes: Any) -> Any:
    return images(tmp_path, ct_slice(stored, 1, **attributes), tone=tone)[0].pixels[..., 0]


def parameters(image: ModelImage, name: str) -> dict[str, Any]:
    return next(step.parameters for step in image.transforms if step.name == name)


def between(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Grey levels of a clip to ``low`` and ``high``, not rounded."""
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def test_without_a_window_ct_is_shown_as_medsiglip_was_trained(tmp_path: Path) -> None:
    assert np.array_equal(grey(tmp_path), np.rint(between(HU, -1150, 1350)))


def test_the_three_windows_of_medgemma_are_red_green_and_blue(tmp_path: Path) -> None:
    image, = images(tmp_path, ct_slice(STORED, 1, WindowCenter=40, WindowWidth=400), tone=MEDGEMMA_CT)
    for channel, (low, high) in enumerate(CHANNELS):
        assert np.array_equal(image.pixels[..., channel], np.rint(between(HU, low, high)))


@pytest.mark.parametrize(("attributes", "expected"), [
    ({"WindowCenter": [40, 300], "WindowWidth": [400, 1400]}, np.clip((HU - 39.5) / 399 + 0.5, 0, 1)),
    ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, np.clip((HU + 160) / 400, 0, 1)),
    ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, 1 / (1 + np.exp(-4 * (HU - 40) / 400))),
    ({"WindowCenter": 40, "WindowWidth": 0}, np.clip((HU + 1150) / 2500, 0, 1)),
])
def test_the_headers_first_window_goes_before_the_default(
    tmp_path: Path, attributes: dict[str, Any], expected: NDArray[np.float64]
) -> None:
    assert np.abs(grey(tmp_path, **attributes) - expected * 255).max() <= 0.5 + 1e-6


def test_a_voi_lut_is_looked_up_with_hounsfield_units(tmp_path: Path) -> None:
    table = item()
    table.add_new("LUTDescriptor", "SS", [3, -1, 8])
    table.add_new("LUTData", "OW", np.array([0, 100, 200], dtype="<u2").tobytes())
    stored = np.array([[1022, 1023], [1024, 1025]], dtype=np.uint16)
    assert grey(tmp_path, stored, VOILUTSequence=[table]).tolist() == [[0, 0], [100, 200]]


def test_a_slice_of_air_stays_black(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 40, (8, 8)).astype(np.uint16)
    assert grey(tmp_path, noise, WindowCenter=40, WindowWidth=400).max() == 0


def test_values_that_are_not_hounsfield_units_are_not_shown_as_such(tmp_path: Path) -> None:
    head = ct_slice(STORED, 1, RescaleType="US")
    image, = images(tmp_path, head)
    assert parameters(image, "value_range")["reason"] == "no usable window, and values in US instead of HU"
    assert parameters(image, "modality_lut")["rescale_type"] == "US"
    with pytest.raises(NotEvaluable, match=r"1\.2\.4\.1 frame 1: Rescale Type is US"):
        images(tmp_path, head, tone=MEDGEMMA_CT)


@st.composite
def stored_frames(draw: st.DrawFn) -> tuple[NDArray[Any], int]:
    """Pixels of every signedness and depth, with their Bits Stored."""
    dtype = np.dtype(draw(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4"])))
    bits = draw(st.integers(2, dtype.itemsize * 8))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
    return draw(arrays(dtype, (2, 4), elements=st.integers(low, high))), bits


@settings(max_examples=150, deadline=None)
@given(frame=stored_frames(), slope=st.sampled_from([1, -1, 0.5, 2.75, 16]),
       intercept=st.sampled_from([0, -1024, -32768, 1000.5]))
def test_no_arithmetic_wraps_whatever_the_storage(frame: tuple[Any, int], slope: float, intercept: float) -> None:
    stored, bits = frame
    head = ct_slice(stored, 1, BitsStored=bits, HighBit=bits - 1, RescaleSlope=slope, RescaleIntercept=intercept)
    pixels, _ = graded(stored, head, MEDGEMMA_CT)
    oracle = [[float(each) * slope + intercept for each in row] for row in stored.tolist()]
    for channel, (low, high) in enumerate(CHANNELS):
        assert np.abs(pixels[..., channel] - between(np.array(oracle), low, high)).max() <= 0.5 + 1e-6


@settings(max_examples=100, deadline=None)
@given(frame=stored_frames(), slope=st.sampled_from([1, -1, 2.75]), padding=st.sampled_from([None, 0, 1, 65535]))
def test_the_cheap_range_is_that_of_all_values(frame: tuple[Any, int], slope: float, padding: int | None) -> None:
    stored, bits = frame
    head = ct_slice(stored, 1, BitsStored=bits, HighBit=bits - 1, RescaleSlope=slope)
    if padding is not None:
        head.add_new("PixelPaddingValue", "US", padding)
    assert measured_range(stored, head) == measured(stored, head).range


@pytest.mark.parametrize("stored", [
    np.array([[-2000, -1000], [0, 3000]], dtype=np.int16), np.array([[-100, -1], [0, 127]], dtype=np.int8),
    np.array([[0, 1000], [40000, 65535]], dtype=np.uint16),
])
def test_signed_and_unsigned_files_give_the_same_values_as_numbers(tmp_path: Path, stored: NDArray[Any]) -> None:
    expected = between(stored.astype(float) - 1024, -1150, 1350)
    assert np.array_equal(grey(tmp_path, stored), np.rint(expected))


def test_a_rescale_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(Undecodable, match="no finite numbers"):
        measured(STORED, ct_slice(STORED, 1, RescaleSlope=1.7e308))


def test_padding_is_black_in_every_channel(tmp_path: Path) -> None:
    stored = np.array([[-2000, 0], [1024, 2000]], dtype=np.int16)
    head = ct_slice(stored, 1, RescaleSlope=-1, RescaleIntercept=0, PixelPaddingValue=-2000)
    image, = images(tmp_path, head, tone=MEDGEMMA_CT)
    assert image.pixels[0, 0].tolist() == [0, 0, 0]


def test_the_range_of_mr_is_that_of_the_whole_acquisition(tmp_path: Path) -> None:
    ramps = [np.linspace(low, high, 16).astype(np.uint16).reshape(4, 4)
             for low, high in ((10, 50), (200, 900), (0, 99))]
    heads = [ct_slice(ramp, number, Modality="MR", RescaleSlope=None, RescaleIntercept=None)
             for number, ramp in enumerate(ramps)]
    heads[1].add_new("PixelPaddingValue", "US", 900)
    main = grouped([write(head, tmp_path / f"{number}.dcm") for number, head in enumerate(heads)]).main
    assert main is not None
    shown, = volume(main, main.slices[:1], MR)
    high = int(ramps[1][ramps[1] < 900].max())
    assert np.array_equal(shown.pixels[..., 0], np.rint(between(ramps[0], 0, high)))
    assert parameters(shown, "value_range") == {
        "minimum": 0.0, "maximum": float(high), "reason": "range of the acquisition"}


def test_each_frame_has_its_own_rescale_and_window(tmp_path: Path) -> None:
    groups = [frame_group(0.0, slope=2), frame_group(5.0, intercept=-2048),
              frame_group(10.0, FrameVOILUTSequence=item(WindowCenter=0, WindowWidth=1000,
                                                         VOILUTFunction="LINEAR_EXACT"))]
    shown = images(tmp_path, enhanced(np.stack([STORED] * 3), groups))
    measured_hu = (STORED.astype(float) * 2 - 1024, STORED.astype(float) - 2048)
    for image, values in zip(shown, measured_hu, strict=False):
        assert np.array_equal(image.pixels[..., 0], np.rint(between(values, -1150, 1350)))
    assert np.array_equal(shown[2].pixels[..., 0], np.rint(between(HU, -500, 500)))
    assert [image.frame for image in shown] == [1, 2, 3]


def test_shared_groups_stand_for_every_frame(tmp_path: Path) -> None:
    groups = [frame_group(z) for z in (0.0, 5.0)]
    for group in groups:
        del group.PixelValueTransformationSequence
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU")])
    shown = images(tmp_path, enhanced(np.stack([STORED] * 2), groups, SharedFunctionalGroupsSequence=[shared]))
    assert np.array_equal(shown[1].pixels[..., 0], np.rint(between(STORED, -1150, 1350)))


def test_rectangular_pixels_are_made_square_and_the_factor_recorded(tmp_path: Path) -> None:
    image, = images(tmp_path, ct_slice(STORED[:, :8], 1, PixelSpacing=[0.5, 1.0]))
    assert image.pixels.shape == (16, 16, 3)
    step = parameters(image, "square_pixels")
    assert (step["ratio"], step["new_rows"], step["new_columns"]) == (0.5, 16, 16)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(("right", "down", "sides"), [
    ((1, 0, 0), (0, 1, 0), True), ((1, 0, 0), (0, 0, -1), True), ((0, 1, 0), (0, 0, -1), False),
], ids=["axial", "coronal", "sagittal"])
def test_each_of_the_eight_ways_to_store_a_slice_is_hung_alike(
    tmp_path: Path, turns: int, mirrored: bool, right: tuple[int, ...], down: tuple[int, ...], sides: bool
) -> None:
    stored, row, column = STORED, np.array(right), np.array(down)
    if mirrored:
        stored, row = stored[:, ::-1], -row
    for _ in range(turns):
        stored, row, column = np.rot90(stored), column, -row
    laid = [*map(float, row), *map(float, column)]
    image, = images(tmp_path, ct_slice(np.ascontiguousarray(stored), 1, ImageOrientationPatient=laid))
    assert np.array_equal(image.pixels[..., 0], np.rint(between(HU, -1150, 1350)))
    assert image.side_known is sides


def test_without_geometry_a_slice_stays_as_it_is_and_its_sides_unknown(tmp_path: Path) -> None:
    image, = images(tmp_path, ct_slice(STORED, 1, ImageOrientationPatient=None))
    assert not image.side_known
    assert np.array_equal(image.pixels[..., 0], np.rint(between(HU, -1150, 1350)))


def test_a_slice_that_cannot_be_decoded_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(ct_slice(STORED, number), tmp_path / f"{number}.dcm")
    broken = tmp_path / "2.dcm"
    broken.write_bytes(broken.read_bytes()[:-100])
    main = grouped(sorted(tmp_path.iterdir())).main
    assert main is not None
    told: list[tuple[Slice, BadInput]] = []
    for tone in (MEDSIGLIP_CT, MR):
        shown = list(volume(main, main.slices, tone, failed=lambda one, error: told.append((one, error))))
        assert [image.sop_instance_uid for image in shown] == ["1.2.4.1", "1.2.4.3"]
    assert {(one.sop_instance_uid, str(error)) for one, error in told} == {
        ("1.2.4.2", "pixel data truncated: 412 of 512 bytes")}
    with pytest.raises(Undecodable, match=r"1\.2\.4\.2 frame 1: pixel data truncated"):
        list(volume(main, main.slices, MEDSIGLIP_CT))


def compressed(native: Dataset, path: Path, syntax: UID) -> Path:
    image = dcmread(native.filename)
    image.compress(syntax, generate_instance_uid=False)
    image.save_as(path)
    return path


@pytest.fixture(scope="module")
def native_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = dcmread(REAL / "CTImage_j2k_lossless.dcm")
    image.decompress()
    path = tmp_path_factory.mktemp("ct") / "native.dcm"
    image.save_as(path)
    return path


def shown_of(path: Path, tone: Tone = MEDSIGLIP_CT) -> ModelImage:
    main = grouped([path]).main
    assert main is not None
    return next(volume(main, main.slices, tone))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_of_one_ct_are_one_picture(tmp_path: Path, native_ct: Path, syntax: UID) -> None:
    other = compressed(dcmread(native_ct), tmp_path / "other.dcm", syntax)
    assert np.array_equal(shown_of(other).pixels, shown_of(REAL / "CTImage_j2k_lossless.dcm").pixels)


@pytest.mark.parametrize("command", [
    ["dcmcjpeg", "+e1"], ["dcmcjpeg", "+el"], ["dcmcjpls", "+el"], ["dcmcrle"], ["dcmconv", "+tb"], ["dcmconv", "+ti"],
    ["dcmconv", "+td"],
], ids=" ".join)
def test_what_dcmtk_writes_is_the_same_picture(tmp_path: Path, native_ct: Path, command: list[str]) -> None:
    subprocess.run([*command, native_ct, tmp_path / "other.dcm"], check=True, capture_output=True)
    assert np.array_equal(shown_of(tmp_path / "other.dcm").pixels, shown_of(native_ct).pixels)


def pgm(path: Path) -> NDArray[np.uint8]:
    _, size, _, pixels = path.read_bytes().split(b"\n", 3)
    columns, rows = (int(number) for number in size.split())
    return np.frombuffer(pixels, dtype=np.uint8, count=rows * columns).reshape(rows, columns)


@pytest.mark.parametrize(("name", "center", "width"), [
    ("CTImage_j2k_lossless.dcm", 40, 400), ("ELSCINT1_JP2vsJ2K.dcm", 500, 3300), ("ct_image.dcm", 0, 1500),
    ("MR_small.dcm", 600, 1600), ("hitachi_001.dcm", 500, 1000),
])
def test_dcmtk_shows_the_same_slice_through_a_window(tmp_path: Path, name: str, center: int, width: int) -> None:
    """The greatest difference is one grey level: DCMTK rounds down where we round to the nearest."""
    image = dcmread(REAL / name)
    if image.file_meta.TransferSyntaxUID.is_compressed:
        image.decompress()
    image.WindowCenter, image.WindowWidth = center, width
    image.PixelSpacing, image.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    image.save_as(tmp_path / "native.dcm")
    subprocess.run(["dcm2pnm", "+Ww", str(center), str(width), "+op", tmp_path / "native.dcm", tmp_path / "shown.pgm"],
                   check=True, capture_output=True)
    tone = HeaderWindow(otherwise=Window(center=0, width=1, function="LINEAR"))
    ours, theirs = shown_of(tmp_path / "native.dcm", tone), pgm(tmp_path / "shown.pgm")
    assert int(np.abs(ours.pixels[..., 0].astype(int) - theirs).max()) <= 1


def test_dcmtk_stretches_a_single_mr_slice_alike(tmp_path: Path) -> None:
    subprocess.run(["dcm2pnm", "+Wm", "+op", REAL / "MR_small.dcm", tmp_path / "shown.pgm"],
                   check=True, capture_output=True)
    ours = shown_of(REAL / "MR_small.dcm", MR).pixels[..., 0]
    assert int(np.abs(ours.astype(int) - pgm(tmp_path / "shown.pgm")).max()) <= 1


@pytest.mark.parametrize("name", ["6_1.dcm", "emri_small_RLE.dcm", "CT0012.fragmented_no_bot_jpeg_ls.80.dcm"])
def test_real_enhanced_images_are_shown_frame_by_frame(name: str) -> None:
    main = grouped([REAL / name]).main
    assert main is not None
    shown = list(volume(main, main.slices, MR))
    assert [image.frame for image in shown] == [one.frame for one in main.slices]
    assert min(image.pixels.min() for image in shown) == 0
    assert max(image.pixels.max() for image in shown) == 255


def test_four_threads_show_what_one_shows(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 4096, (40, 16, 16)).astype(np.uint16)
    head = enhanced(frames, [frame_group(2.0 * place, intercept=-10.0 * place) for place in range(40)])
    main = grouped([write(head, tmp_path / "a.dcm")]).main
    assert main is not None
    one, four = (list(volume(main, main.slices, MEDSIGLIP_CT, limits=Limits(threads=threads))) for threads in (1, 4))
    assert all(np.array_equal(first.pixels, other.pixels) for first, other in zip(one, four, strict=True))
    assert [image.transforms for image in one] == [image.transforms for image in four]


def test_whoever_stops_after_one_slice_leaves_no_file_open(tmp_path: Path) -> None:
    main = grouped([write(ct_slice(STORED, number), tmp_path / f"{number}.dcm") for number in range(12)]).main
    assert main is not None
    shown = volume(main, main.slices, MEDSIGLIP_CT)
    next(shown)
    shown.close()
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in os.path.realpath(link)]


VOLUME_PROBE = """
import resource, sys
from pathlib import Path
from node.images import MEDSIGLIP_CT, MR, grouped, sample, volume
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
warm = grouped([Path(sys.argv[2])]).main
list(volume(warm, warm.slices, MEDSIGLIP_CT))
before = peak()
main = grouped([Path(sys.argv[1])]).main
shown = [int(image.pixels.max()) for image in volume(main, sample(main, 20), MEDSIGLIP_CT)]
print(peak() - before, len(main.slices), len(shown), shown[-1])
"""


def test_an_enhanced_ct_of_300_megabytes_is_sampled_frame_by_frame(tmp_path: Path) -> None:
    ramp = (np.arange(512 * 512) % 4096).astype(np.uint16).reshape(512, 512)
    small = write(ct_slice(ramp, 1), tmp_path / "small.dcm")
    head = enhanced(ramp[np.newaxis], [frame_group(1.0 * place) for place in range(600)])
    large = sparse(head, tmp_path / "large.dcm", 600, ramp)
    done = subprocess.run([sys.executable, "-c", VOLUME_PROBE, large, small],
                          capture_output=True, text=True, check=True)
    grown_kb, slices, shown, brightest = map(int, done.stdout.split())
    assert (slices, shown, brightest) == (600, 20, 255)
    assert grown_kb < 80_000


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_functional_groups_are_read_in_every_native_syntax(tmp_path: Path, syntax: UID) -> None:
    head = enhanced(np.stack([STORED] * 2), [frame_group(0.0), frame_group(5.0, intercept=0)])
    main = grouped([write(head, tmp_path / "a.dcm", syntax)]).main
    assert main is not None
    shown = list(volume(main, main.slices, MEDSIGLIP_CT))
    assert np.array_equal(shown[1].pixels[..., 0], np.rint(between(STORED, -1150, 1350)))
