"""A projection radiograph, or any other single picture, as a model image."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from node.domain import ModelImage, Transform
from node.images.geometry import square, upright
from node.images.pixels import frame, load, number, value
from node.images.tone import rendered


def projection(path: Path) -> ModelImage:
    """The first frame of a stored CR, DX or other picture: uint8, square, three equal channels unless coloured.

    Transforms, in order: ``decode``, then ``pixel_padding``, ``modality_lut``, ``voi_lut`` or ``window`` or
    ``value_range``, ``invert`` (those that apply; ``colour`` instead of them), ``orient``, ``pad``.

    Raises:
        Undecodable: with the reason shown to the reader.
        StorageError: the file cannot be read.
    """
    with load(path) as file:
        image, stored = file.head, frame(file)
    pixels, tone = rendered(stored, image)
    laid, side_known, orient = upright(pixels, _patient_orientation(image))
    padded, pad = square(laid)
    return ModelImage(
        pixels=padded,
        sop_class_uid=_text(image, "SOPClassUID"),
        sop_instance_uid=_text(image, "SOPInstanceUID"),
        series_instance_uid=_text(image, "SeriesInstanceUID"),
        frame=1,
        side_known=side_known,
        transforms=(_decode(image, stored.shape), *tone, orient, pad),
    )


def _decode(image: Dataset, shape: tuple[int, ...]) -> Transform:
    return Transform(name="decode", parameters={
        "transfer_syntax_uid": str(image.file_meta.TransferSyntaxUID),
        "photometric_interpretation": _text(image, "PhotometricInterpretation"),
        "bits_stored": number(image, "BitsStored"),
        "rows": shape[0],
        "columns": shape[1],
        "frame": 1,
    })


def _patient_orientation(image: Dataset) -> list[str]:
    stated = value(image, "PatientOrientation")
    return str(stated).split("\\") if isinstance(stated, str) else [str(part).strip() for part in stated or ()]


def _text(image: Dataset, keyword: str) -> str:
    return str(value(image, keyword) or "").strip()
