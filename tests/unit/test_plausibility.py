"""Blank images, pages and cut-off exposures are refused before any model; no real or drawn radiograph is."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.demo.phantom_dicom import write_studies
from node.errors import NotEvaluable
from node.images import projection, resized
from node.images.plausibility import _percentiles
from tests.tools.radiographs import REAL, radiograph, write

RADIOGRAPHS = ["RG1_J2KI.dcm", "cxr.dcm", "RG2_JPLY_fixed.dcm", "dx_image.dcm", "CR1_6154", "encapsulated_cxr.dcm"]
SIDE = 256


def page(paper: int = 4000, ink: int = 60) -> NDArray[np.uint16]:
    """Lines of letters."""
    sheet = Image.new("L", (SIDE, SIDE), 255)
    for row in range(8, SIDE - 16, 14):
        ImageDraw.Draw(sheet).text((10, row), "Discharge letter, page 1 of 3, no image on it", fill=0)
    white = np.asarray(sheet, np.float32) / 255
    return (ink + (paper - ink) * white).astype(np.uint16)


def noise(low: int, high: int) -> NDArray[np.uint16]:
    return np.random.default_rng(1).integers(low, high, (SIDE, SIDE)).astype(np.uint16)


def cut_off() -> NDArray[np.uint16]:
    """A detector that was driven far beyond its range: white, but for a band across."""
    rows, columns = np.indices((SIDE, SIDE))
    return np.where(abs(rows - columns) < 4, noise(2000, 3000), 4095).astype(np.uint16)


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_no_real_radiograph_is_refused(name: str) -> None:
    projection(REAL / name)


def test_no_drawn_radiograph_is_refused(tmp_path: Path) -> None:
    write_studies(tmp_path, 12, 4, date.today())
    for file in tmp_path.glob("*.dcm"):
        projection(file)


@pytest.mark.parametrize(("stored", "reason"), [
    (np.zeros((SIDE, SIDE), np.uint16), "blank image: 99 % of its values lie between 0 and 0"),
    (noise(2000, 2010), "blank image"),
    (page(), "looks like a page or a screen of text"),
    (page(paper=60, ink=4000), "looks like a page or a screen of text"),
    (cut_off(), "exposure is cut off"),
])
def test_what_can_be_no_radiograph_is_refused_with_what_it_looks_like(
    tmp_path: Path, stored: NDArray[np.uint16], reason: str
) -> None:
    file = write(radiograph(stored), tmp_path / "image.dcm")
    with pytest.raises(NotEvaluable, match=reason) as whole:
        projection(file)
    with pytest.raises(NotEvaluable) as quick:
        resized(file, 96)
    assert str(quick.value) == str(whole.value)


@given(arrays(np.int16, st.integers(1, 200)), st.floats(0, 100))
def test_counted_percentiles_are_those_of_sorted_values(values: NDArray[np.int16], wanted: float) -> None:
    assert _percentiles(values, (wanted,)) == pytest.approx([np.percentile(values.astype(int), wanted)])


def test_a_wide_collimator_makes_no_page_of_a_radiograph(tmp_path: Path) -> None:
    image = np.zeros((SIDE, SIDE), np.uint16)
    image[100:150, 100:150] = noise(500, 3500)[:50, :50]
    projection(write(radiograph(image), tmp_path / "image.dcm"))
