"""Where in an image a score comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from node.domain.models import ModelIdentity


class RelevanceMethod(Enum):
    """How a relevance map is computed."""

    #: What the score loses when a window of the image is taken away. Needs nothing of the model but its answers.
    OCCLUSION = "occlusion"
    #: Each final patch token alone through the pooling head. Only where training taught tokens to be local.
    SINGLE_TOKEN = "single_token"
    #: Gradient of the score by the final patch tokens, times the tokens. On request.
    GRAD_CAM = "grad_cam"


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """The relevance of an image for one finding's score. It is no segmentation and shows no border of anything.

    ``cells`` is float32, shape (g, g), in logits: higher speaks more for the finding. ``map`` is the same drawn out to
    the (side, side) of the model image's square. ``deletion_drop`` is what the score loses, in logits, when the most
    relevant tenth of the image is taken away, ``needed_drop`` more than which it had to lose, and ``random_drop`` the
    mean loss without areas of the same shape elsewhere. Only a ``reliable`` map may be shown; ``reason`` says why
    another may not.
    """

    finding: str
    method: RelevanceMethod
    model: ModelIdentity
    cells: NDArray[np.float32]
    map: NDArray[np.float32]
    deletion_drop: float
    needed_drop: float
    random_drop: float
    reliable: bool
    reason: str = ""
