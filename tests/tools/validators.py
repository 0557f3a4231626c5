"""Independent judges of our DICOM objects, in one gate: dciodvfy, dsrdump, dcentvfy, PixelMed, and our own checks.

No single one finds everything. A missing tool is an error, so that a test that could not judge does not pass.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pydicom

from sr_writer import checks

PIXELMED = Path("/usr/share/java/pixelmed.jar")
#: The JDK refuses PixelMed's large style sheets (JAXP0801003) until these limits are lifted; the rest saves time.
JAVA = (
    "java",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
)


class Tool(Enum):
    """A judge, by the name it has in error lines."""

    DCIODVFY = "dciodvfy"
    DSRDUMP = "dsrdump"
    DCENTVFY = "dcentvfy"
    PIXELMED = "pixelmed"
    OWN = "checks"


class ToolMissing(RuntimeError):
    """A validator is not installed: install dicom3tools, dcmtk, pixelmed-apps and a Java runtime."""


@dataclass(frozen=True)
class Allowed:
    """A line that is known to be harmless, and why."""

    tool: Tool
    pattern: str
    reason: str


ALLOWED = (
    Allowed(
        Tool.DCIODVFY,
        r"ContributingEquipmentSequence.*DeviceUID.*not present in standard DICOM IOD",
        "added to PS3.3 after this dciodvfy; IHE AIR asks for it",
    ),
    Allowed(Tool.DCIODVFY, r"Value dubious for this VR \[PN\]", "a name of one component, verbatim from the source"),
    Allowed(
        Tool.DCIODVFY,
        r"CodingSchemeDesignator.*Unrecognized defined term = <99",
        "private schemes are legal, and declared",
    ),
    Allowed(Tool.DCIODVFY, r"needed to build DICOMDIR", "type 2 attributes that the source does not have stay empty"),
    Allowed(
        Tool.DSRDUMP, r"VR checker does not support this Specific Character Set", "it only skips its VR check in UTF-8"
    ),
    Allowed(
        Tool.DCENTVFY,
        r"Different information entities for attribute",
        "it places Accession Number by IOD, not by value",
    ),
    Allowed(
        Tool.DCENTVFY, r"Attribute present in one instance but not the other", "optional attributes need not be copied"
    ),
    Allowed(
        Tool.PIXELMED,
        r'CONTAINER \(125007,DCM,"Measurement Group"\)/CODE [^/]*(/NUM \((PRESENTABOVE|ABSENTBELOW),99AINODE,[^/]*)?'
        r": Content Item not in template$",
        "qualitative evaluations of TID 1501 are newer than this PixelMed; the operating point hangs below them",
    ),
    Allowed(
        Tool.PIXELMED,
        r'CONTAINER \((59776-5|19005-8|18783-1),LN,"[^"]*"\)(/TEXT \((121071|121073|121075),DCM,"[^"]*"\))?'
        r": Content Item not in template$",
        "LOINC headings of CID 7001 are newer than this PixelMed",
    ),
)


def check(path: Path, source: Path, tools: Sequence[Tool] = tuple(Tool)) -> list[str]:
    """What ``tools`` hold against the report ``path`` about the image ``source``: "tool: line" each.

    Raises:
        ToolMissing: a tool is not installed.
    """
    judges = {
        Tool.DCIODVFY: lambda: _dciodvfy(path),
        Tool.DSRDUMP: lambda: _dsrdump(path),
        Tool.DCENTVFY: lambda: _dcentvfy(path, source),
        Tool.PIXELMED: lambda: _pixelmed(path),
        Tool.OWN: lambda: _own(path, source),
    }
    return [f"{tool.value}: {line}" for tool in tools for line in judges[tool]() if not is_allowed(tool, line)]


def is_allowed(tool: Tool, line: str) -> bool:
    """Whether the allow-list has it; errors are never on it."""
    harmless = not line.startswith(("Error", "E:", "F:"))
    return harmless and any(one.tool is tool and re.search(one.pattern, line) for one in ALLOWED)


def _run(*command: str) -> tuple[int, list[str]]:
    if shutil.which(command[0]) is None:
        raise ToolMissing(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, timeout=120)
    said = (done.stdout + b"\n" + done.stderr).replace(b"\0", b"").decode("utf-8", "replace")
    return done.returncode, [line.strip() for line in said.splitlines()]


def _dciodvfy(path: Path) -> Iterator[str]:
    """IOD, modules and values; its exit status says nothing."""
    _, lines = _run("dciodvfy", "-new", str(path))
    if not lines or not any(line.endswith("SR") for line in lines):
        yield f"Error - the IOD was not recognised: {lines[:3]}"
    yield from (line for line in lines if line.startswith(("Error", "Warning")))


def _dsrdump(path: Path) -> Iterator[str]:
    """Content tree constraints of the SOP class."""
    status, lines = _run("dsrdump", str(path))
    yield from (line for line in lines if line.startswith(("E:", "F:", "W:")))
    if status:
        yield f"E: exit status {status}"


def _dcentvfy(path: Path, source: Path) -> Iterator[str]:
    """Same patient and study as the source, own series."""
    _, lines = _run("dcentvfy", str(path), str(source))
    yield from (line for line in lines if line.startswith(("Error", "Warning")))


def _pixelmed(path: Path) -> Iterator[str]:
    """Templates and context groups."""
    if not PIXELMED.is_file():
        raise ToolMissing(f"{PIXELMED} is not installed")
    validator = ("-cp", str(PIXELMED), "com.pixelmed.validate.DicomSRValidator", "-checktemplateid", str(path))
    _, lines = _run(*JAVA, *validator)
    yield from (line for line in lines if line.startswith(("Error", "Warning")) or "Exception" in line)
    for proof in ("Found Root Template", "IOD validation complete"):
        if not any(line.startswith(proof) for line in lines):
            yield f"Error: it did not say {proof!r}"


def _own(path: Path, source: Path) -> Iterator[str]:
    head = pydicom.dcmread(source, stop_before_pixels=True)
    yield from checks.check(pydicom.dcmread(path), head)
