"""Colour pictures: samples to eight bits, and an ICC profile to sRGB."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import Undecodable
from node.images.pixels import value

Pixels = NDArray[np.uint8]


def eight_bits(stored: NDArray[Any], bits: int) -> tuple[Pixels, Transform]:
    """Colour keeps its values; more than eight bits lose the lowest.

    Raises:
        Undecodable: there are not three samples per pixel.
    """
    if stored.shape[2] != 3:
        raise Undecodable(f"{stored.shape[2]} samples per pixel, expected 1 or 3")
    shift = max(0, bits - 8)
    eight = (stored >> shift).astype(np.uint8) if shift else stored.astype(np.uint8)
    return eight, Transform(name="colour", parameters={"bits_stored": bits, "shift": shift})


def profile_of(image: Dataset) -> bytes:
    """ICC Profile (PS3.3 C.11.15) of the image, else of its first optical path; empty where there is none."""
    paths = value(image, "OpticalPathSequence")
    for item in (image, *(paths or ())[:1]):
        profile = value(item, "ICCProfile")
        if isinstance(profile, bytes) and profile:
            return profile
    return b""


class ToSRGB:
    """What an ICC profile makes of colours, worked out once; where it cannot be used the colours stay."""

    def __init__(self, profile: bytes) -> None:
        self._profile = profile
        self._reason, self._description = "", ""
        self._transform: ImageCms.ImageCmsTransform | None = None
        try:
            opened = ImageCms.getOpenProfile(io.BytesIO(profile))
            self._description = ImageCms.getProfileDescription(opened).strip()[:64]
            self._transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
            self._reason = f"the profile cannot be used: {' '.join(str(error).split())[:120]}"

    def __call__(self, pixels: Pixels) -> tuple[Pixels, Transform]:
        """Shape (rows, columns, 3) in and out."""
        step = Transform(name="icc_profile", parameters={
            "description": self._description, "sha256": hashlib.sha256(self._profile).hexdigest(),
            "applied": self._transform is not None, "reason": self._reason})
        if self._transform is None:
            return pixels, step
        shown = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels), "RGB"), self._transform)
        return np.asarray(shown, dtype=np.uint8), step
