"""The head of an instance: scanned for UIDs while bytes arrive, read in full afterwards, compared when it comes again.

``scan`` works on the first bytes of an encoded data set and decodes nothing; ``read`` takes a stored
Part 10 file; ``changed_attributes`` and ``same_pixels`` tell update, duplicate and conflict apart.
"""

from node.header.comparison import changed_attributes, same_pixels
from node.header.pixels import pixel_digest
from node.header.reading import read
from node.header.scanning import ScannedHead, require_usable, scan

__all__ = ["ScannedHead", "changed_attributes", "pixel_digest", "read", "require_usable", "same_pixels", "scan"]
