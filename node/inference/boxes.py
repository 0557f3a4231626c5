"""Boxes in the form of MedGemma 1.5: what it is asked, and its reply read strictly.

The form is that of Google's notebook on localisation in chest radiographs (google-health/medgemma): a fenced JSON list
of ``box_2d`` = [y0, x0, y1, x1] in 0..1000 of the padded square, with a ``label``. Its technical report says 0..1.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from node.domain import Box, ModelImage, Question
from node.errors import ModelOutputError
from node.inference.answer import without_thought

MAX_NEW_TOKENS = 1000
MOST = 8
"""Boxes of one finding; a reply with more is no answer."""
SCALE = 1000.0
BLOCK = re.compile(r"```json(.*?)```", re.DOTALL)
FINAL = "Final Answer:"
WORD = re.compile(r"[a-z]{3,}")
NO_PLACE = frozenset({"left", "right", "lung", "lobe", "upper", "lower", "the", "and", "bilateral"})
"""Words that many labels share."""

INSTRUCTIONS = """Instructions:
The following user query will require outputting bounding boxes. The format of bounding boxes coordinates is \
[y0, x0, y1, x1] where (y0, x0) must be top-left corner and (y1, x1) the bottom-right corner. This implies that \
x0 < x1 and y0 < y1. Always normalize the x and y coordinates the range [0, 1000], meaning that a bounding box \
starting at 15% of the image width would be associated with an x coordinate of 150. You MUST output a single parseable \
json list of objects enclosed into ```json...``` brackets, for instance \
```json[{"box_2d": [800, 3, 840, 471], "label": "car"}, {"box_2d": [400, 22, 600, 73], "label": "dog"}]``` is a valid \
output. Now answer to the user query.

Remember "left" refers to the patient's left side where the heart is and sometimes underneath an L in the upper right \
corner of the image.

Query:
"""


def question(image: ModelImage, name: str) -> Question:
    """Where in ``image`` the finding called ``name`` is."""
    asked = (f"Where is the {name}? Don't give a final answer without reasoning. Output the final answer in the format "
             f'"{FINAL} X" where X is a JSON list of objects. The object needs a "box_2d" and "label" key. Answer:')
    return Question(content=(image, INSTRUCTIONS + asked), max_new_tokens=MAX_NEW_TOKENS)


def parse(text: str, name: str) -> tuple[Box, ...]:
    """Boxes of the finding called ``name``, in fractions (0..1) of the square that the model was shown.

    Only the last list counts: what comes before it is reasoning. It is taken as it is or not at all.

    Raises:
        ModelOutputError: there is no list, it is of another form, or none of it is about that finding. The text
            itself is never in the message.
    """
    told = _list(without_thought(text))
    found = [_box(one) for one in told]
    wanted = _words(name)
    boxes = tuple(box for label, box in found if wanted & _words(label))
    if not boxes:
        raise ModelOutputError("boxes: the model gave none of the finding it was asked for")
    return boxes


def _list(text: str) -> Sequence[Any]:
    blocks = BLOCK.findall(text)
    written = blocks[-1] if blocks else text.rpartition(FINAL)[2] if FINAL in text else ""
    try:
        told = json.loads(written)
    except (ValueError, RecursionError):
        raise ModelOutputError("boxes: the reply ends with no JSON list") from None  # the cause repeats the text
    if not isinstance(told, list) or not 1 <= len(told) <= MOST:
        raise ModelOutputError(f"boxes: expected a list of 1 to {MOST}")
    return told


def _box(told: Any) -> tuple[str, Box]:
    if not isinstance(told, dict) or set(told) != {"box_2d", "label"} or not isinstance(told["label"], str):
        raise ModelOutputError("boxes: expected objects with box_2d and label")
    numbers = told["box_2d"]
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_number, numbers)):
        raise ModelOutputError("boxes: box_2d has to be four numbers")
    scale = 1.0 if max(numbers) <= 1 else SCALE
    top, left, bottom, right = (number / scale for number in numbers)
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ModelOutputError(f"boxes: box_2d has to be y0 < y1 and x0 < x1 within 0..{SCALE:.0f}")
    return told["label"], Box(top=top, left=left, bottom=bottom, right=right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= SCALE and (
        math.isfinite(value))


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.lower().replace("oedema", "edema"))) - NO_PLACE
