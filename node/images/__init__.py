"""DICOM pixels to the image a model sees, with every transform recorded.

The order is that of PS3.3 and PS3.4 annex N: stored values, Modality LUT, VOI LUT or window, presentation,
then orientation and padding to a square. The model's own resize is the model's affair.
"""

from node.images.cines import cine
from node.images.families import Family, family
from node.images.picture import picture
from node.images.projection import projection
from node.images.slides import slide

__all__ = ["Family", "cine", "family", "picture", "projection", "slide"]
