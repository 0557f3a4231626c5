"""The drawn chests: the same for the same seed, labelled as drawn, and readable in every form they are stored in."""

from __future__ import annotations

import json
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import ImplicitVRLittleEndian

from node.demo.evaluate_served import displayed
from node.demo.forms import Form, Voi
from node.demo.phantom import FINDINGS, LATERALISED, Side, choose, draw
from node.demo.phantom_dicom import decoy, drawn_dataset, phantom_of, write_studies

SEED = 42
NOON = datetime(2030, 1, 2, 12)


def middle_of(mask: NDArray[np.bool_]) -> float:
    """Mean column of a mask as a share of the width."""
    return float(np.nonzero(mask)[1].mean() / mask.shape[1])


def read_back(form: Form) -> NDArray[np.uint8]:
    file = BytesIO()
    drawn_dataset(SEED, form=form, taken=NOON).save_as(file, enforce_file_format=True)
    file.seek(0)
    return displayed(pydicom.dcmread(file))


def test_a_seed_always_draws_the_same_picture() -> None:
    assert np.array_equal(draw(SEED, 96).image, draw(SEED, 96).image)
    assert not np.array_equal(draw(SEED, 96).image, draw(SEED + 1, 96).image)


def test_the_image_is_float32_between_0_and_1() -> None:
    image = draw(SEED, 96).image
    assert image.dtype == np.float32
    assert image.shape == (96, 96)
    assert 0 <= image.min() < image.max() <= 1


def test_the_anatomy_is_the_same_at_every_size() -> None:
    small, large = draw(SEED, 96).image, draw(SEED, 384).image
    shrunk = large.reshape(96, 4, 96, 4).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.98


def test_a_finding_changes_the_picture_only_around_its_mask() -> None:
    healthy, sick = draw(SEED, 192, []), draw(SEED, 192, {"nodule": "left"})
    x0, y0, x1, y1 = sick.findings[0].box
    changed = np.abs(sick.image - healthy.image) > 0.02
    changed[max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8] = False
    assert not changed.any()


@pytest.mark.parametrize("finding", LATERALISED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_patients_left_is_on_image_right(finding: str, side: Literal["left", "right"]) -> None:
    for seed in range(5):
        (drawn,) = draw(seed, 128, {finding: side}).findings
        assert drawn.side == side
        assert drawn.mask.any()
        assert (middle_of(drawn.mask) > 0.5) == (side == "left")


def test_fluid_on_both_sides_is_one_finding() -> None:
    (drawn,) = draw(SEED, 128, {"effusion": "both"}).findings
    assert drawn.side == "both"
    assert drawn.mask[:, :64].any()
    assert drawn.mask[:, 64:].any()


def test_edema_is_on_both_sides_and_a_large_heart_on_none() -> None:
    sides = {drawn.finding: drawn.side for drawn in draw(SEED, 96, ["edema", "cardiomegaly"]).findings}
    assert sides == {"edema": "both", "cardiomegaly": ""}


def test_a_box_is_the_smallest_around_its_mask() -> None:
    for drawn in draw(SEED, 128, FINDINGS).findings:
        x0, y0, x1, y1 = drawn.box
        inside = np.zeros_like(drawn.mask)
        inside[y0:y1, x0:x1] = True
        assert not (drawn.mask & ~inside).any()
        assert drawn.mask[y0].any()
        assert drawn.mask[y1 - 1].any()
        assert drawn.mask[:, x0].any()
        assert drawn.mask[:, x1 - 1].any()


def test_an_unknown_finding_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="fracture"):
        draw(SEED, 96, ["fracture"])


def test_seeds_choose_every_finding_about_equally_often() -> None:
    chosen = [choose(seed) for seed in range(800)]
    for finding in FINDINGS:
        assert 0.18 < sum(finding in each for each in chosen) / len(chosen) < 0.32
    sides = [each["effusion"] for each in chosen if "effusion" in each]
    assert 0.35 < sides.count("left") / len(sides) < 0.65


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
@pytest.mark.parametrize("voi", [v for v in Voi if v is not Voi.NONE])
def test_every_form_of_dx_shows_the_drawing_again(
    voi: Voi, bits: int, photometric: Literal["MONOCHROME1", "MONOCHROME2"]
) -> None:
    form = Form(voi=voi, bits_stored=bits, photometric=photometric, size=128, columns_kept=0.875)
    drawn = phantom_of(SEED, form).image
    assert drawn.shape == (128, 112)
    assert np.abs(read_back(form) / 255 - drawn).max() < 0.01


@pytest.mark.parametrize("voi", [Voi.LINEAR, Voi.LINEAR_EXACT, Voi.SIGMOID, Voi.WINDOWS])
@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -1024.0), (4.0, 100.0)])
def test_a_rescaled_cr_shows_the_drawing_again(voi: Voi, slope: float, intercept: float) -> None:
    form = Form(
        modality="CR",
        voi=voi,
        slope=slope,
        intercept=intercept,
        size=128,
        rows_kept=0.875,
        transfer_syntax=ImplicitVRLittleEndian,
    )
    drawn = phantom_of(SEED, form).image
    assert np.abs(read_back(form) / 255 - drawn).max() < 0.01


def test_without_a_voi_transformation_the_drawing_fills_the_stored_range() -> None:
    form = Form(modality="CR", voi=Voi.NONE, bits_stored=14, size=128)
    drawn = phantom_of(SEED, form).image
    stretched = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    assert np.abs(read_back(form) / 255 - stretched).max() < 0.01


def test_dx_without_a_voi_transformation_is_refused() -> None:
    with pytest.raises(ValueError, match="VOI"):
        Form(modality="DX", voi=Voi.NONE)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_presentation_lut_shape_fits_the_photometric_interpretation(
    photometric: Literal["MONOCHROME1", "MONOCHROME2"], shape: str
) -> None:
    assert drawn_dataset(SEED, form=Form(photometric=photometric, size=64)).PresentationLUTShape == shape


def test_the_forms_of_many_seeds_cover_everything() -> None:
    forms = [Form.of(seed) for seed in range(300)]
    assert {form.voi for form in forms} == set(Voi)
    assert {form.bits_stored for form in forms} == {10, 12, 14, 15, 16}
    assert {(form.modality, form.photometric) for form in forms} == {
        (modality, photometric) for modality in ("DX", "CR") for photometric in ("MONOCHROME1", "MONOCHROME2")
    }
    assert any(form.rows_kept < 1 for form in forms)
    assert any(form.columns_kept < 1 for form in forms)


def test_a_drawn_study_is_an_adult_frontal_chest_that_says_it_is_synthetic() -> None:
    dataset = drawn_dataset(SEED, accession="A1", taken=NOON)
    assert (dataset.BodyPartExamined, dataset.ViewPosition) == ("CHEST", "PA")
    assert list(dataset.PatientOrientation) == ["L", "F"]
    assert int(dataset.PatientAge[:3]) >= 18
    assert (dataset.StudyDate, dataset.AccessionNumber) == ("20300102", "A1")
    assert "SYNTHETIC" in dataset.ImageComments


def test_uids_depend_on_the_seed_and_the_salt() -> None:
    form = Form(size=64)
    first, again, salted = (drawn_dataset(SEED, form=form, salt=salt) for salt in ("a", "a", "b"))
    other = drawn_dataset(SEED + 1, form=form, salt="a")
    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert len({d.StudyInstanceUID for d in (first, salted, other)}) == 3


def test_the_decoy_is_no_chest() -> None:
    assert decoy(SEED).BodyPartExamined == "KNEE"


def test_written_studies_match_their_truth(tmp_path: Path) -> None:
    truths = write_studies(tmp_path, 4, SEED, date(2030, 1, 2))
    told = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert [set(each) for each in told] == [{"file", "study_instance_uid", "findings"}] * 4
    assert [each["study_instance_uid"] for each in told] == [truth.study_instance_uid for truth in truths]
    for seed, each in enumerate(told, start=SEED):
        dataset = pydicom.dcmread(tmp_path / each["file"])
        expected: dict[str, Side] = choose(seed)
        assert dataset.StudyInstanceUID == each["study_instance_uid"]
        assert dataset.StudyDate == "20300102"
        assert {f["finding"]: f["side"] for f in each["findings"]} == expected
        for finding in each["findings"]:
            x0, y0, x1, y1 = finding["box"]
            assert 0 <= x0 < x1 <= dataset.Columns
            assert 0 <= y0 < y1 <= dataset.Rows


def test_two_runs_of_the_same_seeds_do_not_collide(tmp_path: Path) -> None:
    first, second = (write_studies(tmp_path / name, 1, SEED, date(2030, 1, 2)) for name in "ab")
    assert first[0].study_instance_uid != second[0].study_instance_uid
