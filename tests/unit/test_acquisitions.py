"""Acquisitions: order by position, and what is double, missing, a localiser, or of another stack."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from node.images.acquisitions import Grouping, grouped
from node.images.sampling import SampleRule, places, sample
from tests.tools.radiographs import REAL, radiograph, write
from tests.tools.volumes import ct_slice, enhanced, frame_group, item

GREY = np.arange(16, dtype=np.uint16).reshape(4, 4)
CORONAL, SAGITTAL = [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


def folder(tmp_path: Path, *images: Dataset) -> Grouping:
    """The images grouped, their files in an order that says nothing."""
    paths = [write(image, tmp_path / f"{number}.dcm") for number, image in enumerate(images)]
    random.Random(7).shuffle(paths)
    return grouped(paths)


def numbers(found: Grouping, place: int = 0) -> list[int | None]:
    return [one.instance_number for one in found.acquisitions[place].slices]


def series(*zs: float, **attributes: Any) -> list[Dataset]:
    return [ct_slice(GREY, number, z, **attributes) for number, z in enumerate(zs, start=1)]


def test_shuffled_slices_come_in_order_of_position(tmp_path: Path) -> None:
    found = folder(tmp_path, *series(30, 0, 20, 10, -10))
    assert numbers(found) == [5, 2, 4, 3, 1]
    assert found.main is not None
    assert (found.main.spacing_mm, found.main.missing, found.main.remarks) == (10.0, 0, ())


@pytest.mark.parametrize("position", ["HFS", "FFS"])
def test_head_or_feet_first_is_recorded_and_changes_nothing(tmp_path: Path, position: str) -> None:
    found = folder(tmp_path, *series(30, 10, 20, PatientPosition=position))
    assert numbers(found) == [2, 3, 1]
    assert found.main is not None and found.main.patient_position == position


def test_oblique_slices_are_ordered_along_their_normal(tmp_path: Path) -> None:
    cosine, sine = np.cos(0.6), np.sin(0.6)
    orientation = [1.0, 0.0, 0.0, 0.0, float(cosine), float(sine)]
    normal = np.array([0.0, -sine, cosine])
    images = [ct_slice(GREY, number, ImageOrientationPatient=orientation,
                       ImagePositionPatient=[round(float(part), 5) for part in normal * depth + [5.0, 7.0, -3.0]])
              for number, depth in enumerate([6.0, -3.0, 3.0, 0.0], start=1)]
    found = folder(tmp_path, *images)
    assert numbers(found) == [2, 4, 3, 1]
    assert found.main is not None and found.main.spacing_mm == pytest.approx(3.0, abs=1e-3)


def test_a_missing_slice_is_counted_and_its_place_named(tmp_path: Path) -> None:
    found = folder(tmp_path, *series(0, 5, 10, 25, 30, 35, 40))
    assert found.main is not None and found.main.missing == 2
    assert found.main.remarks == (
        "2 slices missing (10.00 to 25.00 mm); spacing 5.00 mm, a gap is more than 1.5 spacings",)


def test_spacing_that_varies_on_purpose_is_no_gap(tmp_path: Path) -> None:
    found = folder(tmp_path, *series(0, 2.5, 5, 7.5, 10, 15, 20, 25))
    assert found.main is not None and found.main.missing == 0
    assert found.main.remarks == ("spacing varies from 2.50 to 5.00 mm",)


def test_of_two_slices_in_one_place_the_lower_instance_number_stays(tmp_path: Path) -> None:
    found = folder(tmp_path, *series(0, 10, 20, 10))
    assert numbers(found) == [1, 2, 3]
    assert found.main is not None
    assert [one.sop_instance_uid for one in found.main.duplicates] == ["1.2.4.4"]
    assert found.main.remarks == ("1 duplicates left out, first kept by Instance Number: 1.2.4.4 frame 1",)


@pytest.mark.parametrize("keyword, values", [
    ("AcquisitionTime", ["101500", "102500"]), ("EchoTime", [12, 80]), ("TemporalPositionIdentifier", [1, 2]),
])
def test_passes_over_the_same_places_are_acquisitions_of_their_own(
    tmp_path: Path, keyword: str, values: list[Any]
) -> None:
    images = [ct_slice(GREY, 10 * turn + place, 5.0 * place, **{keyword: value})
              for turn, value in enumerate(values) for place in range(4)]
    found = folder(tmp_path, *images)
    assert [numbers(found, place) for place in range(2)] == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_times_that_differ_from_slice_to_slice_part_nothing(tmp_path: Path) -> None:
    found = folder(tmp_path, *(ct_slice(GREY, place, AcquisitionTime=f"10150{place}") for place in range(5)))
    assert len(found.acquisitions) == 1


@pytest.mark.parametrize("image_type, reason", [
    (["ORIGINAL", "PRIMARY", "LOCALIZER"], "Image Type LOCALIZER"),
    (["DERIVED", "SECONDARY", "SCREEN SAVE"], "Image Type SCREEN SAVE"),
    (["DERIVED", "PRIMARY", "MPR"], "Image Type MPR"),
])
def test_no_slices_by_image_type(tmp_path: Path, image_type: list[str], reason: str) -> None:
    found = folder(tmp_path, *series(0, 5, 10), ct_slice(GREY, 9, 99, ImageType=image_type))
    assert numbers(found) == [1, 2, 3]
    assert [(one.sop_instance_uid, one.reason) for one in found.excluded] == [("1.2.4.9", reason)]


def test_a_scout_without_a_name_is_at_right_angles(tmp_path: Path) -> None:
    scout = ct_slice(GREY, 9, 99, ImageOrientationPatient=CORONAL, SeriesInstanceUID="1.2.5")
    found = folder(tmp_path, *series(0, 5, 10), scout)
    assert len(found.acquisitions) == 1
    assert [one.reason for one in found.excluded] == ["LOCALIZER: at right angles to the other slices"]


def test_a_three_plane_localiser_is_no_acquisition(tmp_path: Path) -> None:
    axial = [1, 0, 0, 0, 1, 0]
    found = folder(tmp_path, *(ct_slice(GREY, place, ImageOrientationPatient=laid, SOPClassUID=MRImageStorage,
                                        Modality="MR") for place, laid in enumerate([axial, CORONAL, SAGITTAL])))
    assert found.main is None
    assert len(found.excluded) == 3


def test_sagittal_and_axial_mr_series_stand_side_by_side(tmp_path: Path) -> None:
    def stack(uid: str, laid: list[int], axis: int) -> list[Dataset]:
        return [ct_slice(GREY, place, SOPInstanceUID=f"{uid}.{place}", SeriesInstanceUID=uid, Modality="MR",
                         SOPClassUID=MRImageStorage, ImageOrientationPatient=laid,
                         ImagePositionPatient=[4.0 * place * (axis == each) for each in range(3)])
                for place in range(4)]
    found = folder(tmp_path, *stack("1.5", [1, 0, 0, 0, 1, 0], 2), *stack("1.6", SAGITTAL, 0))
    assert [len(one.slices) for one in found.acquisitions] == [4, 4]


def test_large_stacks_at_right_angles_in_one_series_are_both_kept(tmp_path: Path) -> None:
    crossing = [ct_slice(GREY, 100 + place, ImageOrientationPatient=CORONAL,
                         ImagePositionPatient=[0.0, 3.0 * place, 0.0]) for place in range(16)]
    found = folder(tmp_path, *series(*range(0, 60, 3)), *crossing)
    assert [len(one.slices) for one in found.acquisitions] == [20, 16]


def test_two_stacks_of_one_series_are_two_acquisitions(tmp_path: Path) -> None:
    tilted = [1.0, 0.0, 0.0, 0.0, 0.9397, 0.342]
    found = folder(tmp_path, *series(0, 5, 10, 15),
                   *(ct_slice(GREY, 20 + place, 4.0 * place, ImageOrientationPatient=tilted) for place in range(3)))
    assert [numbers(found, place) for place in range(2)] == [[1, 2, 3, 4], [20, 21, 22]]


def test_originals_come_before_more_derived_slices(tmp_path: Path) -> None:
    derived = [ct_slice(GREY, 50 + place, ImageType=["DERIVED", "PRIMARY", "AXIAL"]) for place in range(6)]
    found = folder(tmp_path, *derived, *series(0, 5, 10))
    assert numbers(found) == [1, 2, 3]


@pytest.mark.parametrize("attributes", [
    {"ImagePositionPatient": None}, {"ImageOrientationPatient": None}, {"ImageOrientationPatient": [0] * 6},
    {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
])
def test_without_geometry_instance_number_orders(tmp_path: Path, attributes: dict[str, Any]) -> None:
    found = folder(tmp_path, *series(30, 20, 10, **attributes))
    assert numbers(found) == [1, 2, 3]
    assert found.main is not None
    assert found.main.remarks == (
        "no Image Position or Orientation (Patient): in order of Instance Number, gaps not looked for",)


def test_frames_of_an_enhanced_image_are_slices(tmp_path: Path) -> None:
    stack = np.stack([GREY, GREY, GREY])
    found = folder(tmp_path, enhanced(stack, [frame_group(z) for z in (20.0, 0.0, 10.0)]))
    assert found.main is not None
    assert [(one.frame, one.position_mm) for one in found.main.slices] == [(2, 0.0), (3, 10.0), (1, 20.0)]


def test_frames_of_two_moments_are_two_acquisitions(tmp_path: Path) -> None:
    groups = [frame_group(5.0 * place, FrameContentSequence=item(TemporalPositionIndex=moment))
              for moment in (1, 2) for place in range(3)]
    found = folder(tmp_path, enhanced(np.stack([GREY] * 6), groups))
    assert [[one.frame for one in each.slices] for each in found.acquisitions] == [[1, 2, 3], [4, 5, 6]]
    assert [each.phase for each in found.acquisitions] == ["Temporal Position 1", "Temporal Position 2"]


def test_what_is_no_slice_is_named(tmp_path: Path) -> None:
    (tmp_path / "junk.dcm").write_bytes(b"junk")
    found = grouped([tmp_path / "junk.dcm", REAL / "sr_document.dcm", REAL / "sm_image_jpegls_nobot.dcm",
                     write(radiograph(GREY), tmp_path / "cr.dcm")])
    assert found.main is None and len(found.excluded) == 4


def test_a_header_that_states_endless_frames_is_turned_down(tmp_path: Path) -> None:
    found = folder(tmp_path, ct_slice(GREY, 1, NumberOfFrames=2**31 - 1))
    assert [one.reason for one in found.excluded] == [
        "Number of Frames is 2147483647, more than the 65536 that are looked at"]


def test_a_real_enhanced_mr_has_its_six_frames_in_order() -> None:
    found = grouped([REAL / "6_1.dcm"])
    assert found.main is not None
    depths = [one.position_mm for one in found.main.slices]
    assert len(depths) == 6 and depths == sorted(depths)  # type: ignore[type-var]
    assert found.main.spacing_mm == pytest.approx(2.4, abs=0.01)


def test_real_frames_without_geometry_stay_in_their_order() -> None:
    found = grouped([REAL / "emri_small_RLE.dcm"])
    assert found.main is not None
    assert [one.frame for one in found.main.slices] == list(range(1, 11))


@given(count=st.integers(2, 2000), limit=st.integers(2, 200))
def test_an_even_sample_has_both_ends_and_rises(count: int, limit: int) -> None:
    found = places(count, min(limit, count), SampleRule.ENDS)
    assert (found[0], found[-1]) == (0, count - 1)
    assert all(one < two for one, two in itertools.pairwise(found))


def test_the_sample_of_medgemma_is_as_published() -> None:
    slices = range(300)
    published = [slices[round(i / 85 * (300 - 1))] for i in range(1, 86)]
    assert places(300, 85, SampleRule.MEDGEMMA) == published


def test_a_sample_of_few_slices_is_all_of_them(tmp_path: Path) -> None:
    found = folder(tmp_path, *series(0, 5, 10))
    assert found.main is not None
    assert sample(found.main, 85, SampleRule.MEDGEMMA) == found.main.slices
    assert [one.instance_number for one in sample(found.main, 1)] == [2]
    with pytest.raises(ValueError, match="at least 1"):
        sample(found.main, 0)
