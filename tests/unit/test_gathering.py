"""A picture brought to a model's size from few of its pixels is the one that is rendered whole and resized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from node import images
from node.errors import BadInput, Undecodable
from node.resizing import bilinear
from tests.tools.radiographs import REAL, radiograph, write

ORIENTATIONS = [None, ["L", "F"], ["R", "F"], ["L", "H"], ["R", "H"], ["F", "L"], ["F", "R"], ["H", "L"], ["H", "R"]]


@st.composite
def radiographs(draw: st.DrawFn) -> Dataset:
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.int16]))
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    stored = draw(arrays(kind, shape))
    bits = draw(st.integers(1, stored.dtype.itemsize * 8))
    high = draw(st.integers(bits - 1, stored.dtype.itemsize * 8 - 1))
    told: dict[str, Any] = {"BitsStored": bits, "HighBit": high}
    told["PatientOrientation"] = draw(st.sampled_from(ORIENTATIONS))
    told["PhotometricInterpretation"] = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    if draw(st.booleans()):
        told |= {"WindowCenter": draw(st.integers(-50, 50)), "WindowWidth": draw(st.integers(0, 300))}
        told["VOILUTFunction"] = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    if draw(st.booleans()):
        told |= {"RescaleSlope": draw(st.sampled_from([-1, 1, 0.5])), "RescaleIntercept": draw(st.integers(-9, 9))}
    if draw(st.booleans()):
        told["VOILUTSequence"] = [_table(draw(st.lists(st.integers(0, 4095), min_size=1, max_size=20)))]
    image = radiograph(stored, **told)
    if draw(st.booleans()):
        padding = int(draw(st.sampled_from(stored.ravel())))
        image.add_new("PixelPaddingValue", "SS" if kind is np.int16 else "US", padding)
    return image


def _table(entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, 12])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


@given(radiographs(), st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_gathered_first_or_rendered_first_is_the_same_to_the_bit(tmp_path: Path, image: Dataset, side: int) -> None:
    file = write(image, tmp_path / "one.dcm", ImplicitVRLittleEndian)
    whole, quick = images.projection(file), images.resized(file, side)
    np.testing.assert_array_equal(quick.pixels, bilinear(whole.pixels, side))
    assert quick.transforms == whole.transforms and quick.side_known == whole.side_known
    assert (quick.sop_instance_uid, quick.frame) == (whole.sop_instance_uid, whole.frame)


@pytest.mark.parametrize("file", sorted(REAL.glob("*")), ids=lambda file: file.name)
def test_a_real_file_gives_the_same_picture_or_the_same_reason(file: Path) -> None:
    try:
        expected = bilinear(images.projection(file).pixels, 64)
    except BadInput as error:
        with pytest.raises(type(error)) as raised:
            images.resized(file, 64)
        assert str(raised.value) == str(error)
    else:
        np.testing.assert_array_equal(images.resized(file, 64).pixels, expected)


@pytest.mark.parametrize("told", [{"BitsStored": None}, {"PixelRepresentation": None}, {"BitsStored": 17}, {}])
def test_what_a_decoder_would_refuse_is_refused_in_the_same_words(tmp_path: Path, told: dict[str, Any]) -> None:
    file = write(radiograph(np.arange(64, dtype=np.uint16).reshape(8, 8), **told), tmp_path / "one.dcm")
    answers = []
    for make in (images.projection, lambda path: images.resized(path, 4)):
        try:
            answers.append(str(make(file).transforms))
        except Undecodable as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    image = radiograph(np.zeros((8, 8), np.uint16))
    image.PixelData = image.PixelData[:-2]
    with pytest.raises(Undecodable, match="truncated"):
        images.resized(write(image, tmp_path / "short.dcm"), 4)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(1, 40))
def test_resizing_agrees_with_torch_to_one_grey_level(pixels: np.ndarray, side: int) -> None:
    planes = torch.from_numpy(pixels)[None, None].float()
    other = torch.nn.functional.interpolate(planes, (side, side), mode="bilinear", align_corners=False)[0, 0]
    assert np.abs(bilinear(pixels, side).astype(int) - other.to(torch.uint8).numpy().astype(int)).max() <= 1


@given(st.integers(0, 255), st.integers(1, 60), st.integers(1, 60))
def test_an_even_grey_stays_what_it_is(grey: int, size: int, side: int) -> None:
    assert (bilinear(np.full((size, size, 3), grey, np.uint8), side) == grey).all()
