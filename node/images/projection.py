"""A projection radiograph, or any other single picture, as a model image."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from node.domain import ModelImage
from node.images.aspect import squared
from node.images.geometry import square, upright
from node.images.picture import decoded_from
from node.images.pixels import frame, load, number, text, value
from node.images.plausibility import require_radiograph
from node.images.tone import rendered

RADIOGRAPHS = tuple("1.2.840.10008.5.1.4.1.1." + end for end in ("1", "1.1", "1.1.1"))
"""CR and DX: what has to look like a radiograph before a model sees it."""


def projection(path: Path) -> ModelImage:
    """The first frame of a stored CR, DX or other picture: uint8, square, three equal channels unless coloured.

    Transforms, in order: ``decode``, then ``pixel_padding``, ``modality_lut``, ``voi_lut`` or ``window`` or
    ``value_range``, ``invert`` (those that apply; ``colour`` or ``palette`` instead of them), ``square_pixels`` where
    they are not, ``orient``, ``pad``.

    Raises:
        Undecodable: with the reason shown to the reader.
        NotEvaluable: a CR or DX that is blank, a page of text, or cut off in its exposure.
        StorageError: the file cannot be read.
    """
    with load(path) as file:
        image, stored = file.head, frame(file)
    pixels, tone = rendered(stored, image)
    if text(image, "SOPClassUID") in RADIOGRAPHS:
        require_radiograph(stored, pixels, number(image, "BitsStored") or stored.itemsize * 8)
    drawn, aspect = squared(pixels, image)
    laid, side_known, orient = upright(drawn, patient_orientation(image))
    padded, pad = square(laid)
    return ModelImage(
        pixels=padded,
        sop_class_uid=text(image, "SOPClassUID"),
        sop_instance_uid=text(image, "SOPInstanceUID"),
        series_instance_uid=text(image, "SeriesInstanceUID"),
        frame=1,
        side_known=side_known,
        transforms=(decoded_from(image, stored.shape, 1), *tone, *aspect, orient, pad),
    )


def patient_orientation(image: Dataset) -> list[str]:
    """Patient Orientation value by value; empty where it is missing."""
    stated = value(image, "PatientOrientation")
    return str(stated).split("\\") if isinstance(stated, str) else [str(part).strip() for part in stated or ()]
