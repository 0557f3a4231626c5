"""What a peer asks: the identifier of its request (PS3.4 C.2.2.1), read without trusting a byte of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.valuerep import STANDARD_VR

from node.errors import QueryMismatch
from node.header.elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Element, walk
from node.header.texts import decoded
from node.results.levels import LEVEL_OF, LEVELS, UNIQUE, Level, Root, levels_of, vr_of
from node.results.matching import check_range, is_universal

ENCODINGS = {"1.2.840.10008.1.2": IMPLICIT_LITTLE, "1.2.840.10008.1.2.1": EXPLICIT_LITTLE}
"""The transfer syntaxes in which queries are accepted."""
CHARACTER_SET, LEVEL = 0x00080005, 0x00080052
NOT_KEYS = frozenset({CHARACTER_SET, LEVEL, 0x00080053, 0x00080201})
"""Specific Character Set, Query/Retrieve Level and View, Timezone Offset From UTC: they say how to read the keys."""
MOST_KEYS = 512
LONGEST_IDENTIFIER = 4 << 20
"""Bytes: room for a list of 60 000 UIDs."""


@dataclass(frozen=True, kw_only=True)
class Negotiated:
    """SOP Class Extended Negotiation of the query's class (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""

    #: Keys of any level may be given, and unique keys above the level left out.
    relational: bool = False
    #: A range of dates and a range of times are one range.
    combined_date_time: bool = False

    @classmethod
    def of(cls, information: bytes) -> Negotiated:
        """Out of Service Class Application Information: one byte for each, 1 is yes."""
        return cls(relational=information[:1] == b"\x01", combined_date_time=information[1:2] == b"\x01")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A request. ``keys`` are texts by keyword, as they match; ``asked`` are all tags with their VR, as they came."""

    root: Root
    level: Level
    keys: Mapping[str, str]
    asked: tuple[tuple[int, str], ...] = ()
    negotiated: Negotiated = field(default_factory=Negotiated)

    @classmethod
    def read(cls, identifier: bytes, transfer_syntax_uid: str, root: Root, negotiated: Negotiated) -> Query:
        """Of an encoded identifier.

        Raises:
            QueryMismatch: it is none of this root, or too large; the message is for the peer, without values.
        """
        if len(identifier) > LONGEST_IDENTIFIER:
            raise QueryMismatch(f"the identifier has {len(identifier)} bytes")
        found = {element.tag: element for element in _elements(identifier, transfer_syntax_uid)}
        if len(found) > MOST_KEYS:
            raise QueryMismatch(f"the identifier has {len(found)} attributes, at most {MOST_KEYS} are read")
        values = {tag: identifier[one.start : one.end] for tag, one in found.items()}
        character_set = values.get(CHARACTER_SET, b"").decode("ascii", "replace").strip("\0 ")
        asked = tuple((tag, _vr(one)) for tag, one in found.items() if tag not in NOT_KEYS and tag & 0xFFFF)
        texts = {
            keyword_for_tag(tag): decoded(values[tag], character_set, strict=False)
            for tag, vr in asked if vr != "SQ"}
        return cls(root=root, level=_level(values.get(LEVEL, b""), root), asked=asked, negotiated=negotiated,
                   keys={keyword: text for keyword, text in texts.items() if keyword})

    def checked_for_find(self) -> Query:
        """Itself. Raises QueryMismatch where a date or time is none, or unique keys are not as C.4.1.2.1 wants them."""
        if not self.negotiated.relational:
            self._require_above()
        for keyword, text in self.matching.items():
            check_range(keyword, vr_of(keyword), text)
        return self

    def checked_for_retrieve(self) -> Query:
        """Only its unique keys (PS3.4 C.4.2.2.1, C.4.3.2.1). Raises QueryMismatch where one is missing."""
        if not self.negotiated.relational:
            self._require_above()
        self._require(self.level)
        unique = {UNIQUE[one]: self.value(UNIQUE[one]) for one in LEVELS[: self.level.depth + 1]}
        return Query(root=self.root, level=self.level, negotiated=self.negotiated,
                     keys={keyword: value for keyword, value in unique.items() if value})

    def value(self, keyword: str) -> str:
        """The key's text, '' where it is not asked or universal."""
        text = self.keys.get(keyword, "")
        return "" if is_universal(text) else text

    @property
    def matching(self) -> Mapping[str, str]:
        """Keys that restrict and that are attributes of ours: of this level and above, or of any if relational."""
        lowest = LEVELS[-1] if self.negotiated.relational else self.level
        return {keyword: text for keyword, text in self.keys.items()
                if keyword in LEVEL_OF and LEVEL_OF[keyword].depth <= lowest.depth and not is_universal(text)}

    def own(self, keyword: str) -> str:
        """The key's text where it is of this level or above, and restricts; '' otherwise."""
        return self.value(keyword) if LEVEL_OF[keyword].depth <= self.level.depth else ""

    def uids(self, level: Level) -> tuple[str, ...]:
        """The list of UIDs that is asked for at ``level``, where that is this level or above."""
        return tuple(filter(None, (uid.strip() for uid in self.own(UNIQUE[level]).split("\\"))))

    def names(self, level: Level) -> frozenset[str]:
        """The unique keys of a retrieve request at ``level``; a Patient ID is one, whatever signs are in it."""
        return frozenset([self.own(UNIQUE[level]).strip()] if level is Level.PATIENT else self.uids(level))

    def _require_above(self) -> None:
        for level in levels_of(self.root):
            if level is self.level:
                return
            self._require(level)
            if "\\" in self.value(UNIQUE[level]):
                raise QueryMismatch(f"{UNIQUE[level]} has several values above level {self.level.value}")

    def _require(self, level: Level) -> None:
        if not self.value(UNIQUE[level]):
            raise QueryMismatch(f"{UNIQUE[level]} is needed at level {self.level.value}")


def _elements(identifier: bytes, transfer_syntax_uid: str) -> Iterator[Element]:
    reached = 0
    for element in walk(identifier, ENCODINGS[transfer_syntax_uid]):
        reached = element.end
        if element.end <= len(identifier):
            yield element
    if reached != len(identifier):
        raise QueryMismatch("the identifier cannot be decoded")


def _vr(element: Element) -> str:
    try:
        return dictionary_VR(element.tag).partition(" or ")[0]
    except KeyError:
        given = element.vr.decode("ascii")
        return given if given in STANDARD_VR else "UN"


def _level(value: bytes, root: Root) -> Level:
    text = value.decode("ascii", "replace").strip("\0 ")
    allowed = [level.value for level in levels_of(root)]
    if text not in allowed:
        raise QueryMismatch(f"Query/Retrieve Level is {text[:16]!r}, not of {', '.join(allowed)}")
    return Level(text)
