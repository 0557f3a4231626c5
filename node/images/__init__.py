"""DICOM pixels to the image a model sees, with every transform recorded.

The order is that of PS3.3 and PS3.4 annex N: stored values, Modality LUT, VOI LUT or window, presentation,
then orientation and padding to a square. The model's own resize is the model's affair.
"""

from node.images.acquisitions import Acquisition, Excluded, Grouping, grouped
from node.images.cines import cine
from node.images.decoding import Limits
from node.images.families import Family, family
from node.images.gathering import resized
from node.images.picture import picture
from node.images.projection import projection
from node.images.sampling import SampleRule, sample
from node.images.shades import MEDGEMMA_CT, MEDSIGLIP_CT, MR, Tone, tone_for
from node.images.slices import Slice
from node.images.slides import slide
from node.images.volume import volume

__all__ = [
    "MEDGEMMA_CT",
    "MEDSIGLIP_CT",
    "MR",
    "Acquisition",
    "Excluded",
    "Family",
    "Grouping",
    "Limits",
    "SampleRule",
    "Slice",
    "Tone",
    "cine",
    "family",
    "grouped",
    "picture",
    "projection",
    "resized",
    "sample",
    "slide",
    "tone_for",
    "volume",
]
