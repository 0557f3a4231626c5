"""Identity of a model: one digest over everything that can change what it says.

Two runs with the same identity are the same device. A file's bytes decide, never a name or a date.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from node.domain import ModelIdentity, OperatingPoint
from node.inference.checkpoints import Manifest, Served
from node.inference.operating_points import FILE, FOLDER

#: Files of a checkpoint that do not change a score.
NOT_SCORING = frozenset({FILE, "metrics.json", "README.md", "ainode.json"})

#: From this size on a file's digest is remembered: hashing gigabytes at every start takes minutes.
_REMEMBERED_BYTES = 64 * 2**20

log = logging.getLogger(__name__)


def scorer_sha256(checkpoint_dir: Path, prompt_sha256: str, cache_dir: Path | None = None) -> str:
    """What an operating point belongs to: weights, processor and tokenizer of a checkpoint, and the prompts.

    sha256 over, for each file by relative POSIX path, the path in UTF-8, a NUL byte and the file's
    32-byte digest; then the 32-byte digest of the prompt file (``prompt_sha256``, hex).
    With ``cache_dir``, digests of large files are remembered by path, size and modification time.
    """
    digest = hashlib.sha256()
    remembered = _Remembered(cache_dir)
    for name, path in sorted(_scoring_files(checkpoint_dir)):
        digest.update(name.encode() + b"\0" + remembered.digest(path))
    digest.update(bytes.fromhex(prompt_sha256))
    return digest.hexdigest()


def model_identity(
    manifest: Manifest, scorer: str, points: Mapping[str, OperatingPoint], engine: str = ""
) -> ModelIdentity:
    """The device that speaks: a scorer with its operating points. Without a version its digest stands in."""
    sha256 = hashlib.sha256((scorer + canonical(points)).encode()).hexdigest()
    return ModelIdentity(
        name=manifest.name,
        version=manifest.version or scorer[:12],
        sha256=sha256,
        device_uid=device_uid(sha256),
        demo=manifest.demo,
        engine=engine,
    )


def served_identity(model: Served, engine: str, prompt_sha256: str) -> ModelIdentity:
    """A model on a server, whose weights nobody here can hash: its name as the server knows it, and the prompts."""
    digest = hashlib.sha256(b"served\0" + model.name.encode() + b"\0" + bytes.fromhex(prompt_sha256)).hexdigest()
    return ModelIdentity(name=model.shown, version=model.version or digest[:12], sha256=digest,
                         device_uid=device_uid(digest), demo=model.demo, engine=engine)


def canonical(points: Mapping[str, OperatingPoint]) -> str:
    """Operating points as JSON that is equal when they are."""
    told = {key: [point.present_above, point.absent_below] for key, point in points.items()}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def device_uid(sha256: str) -> str:
    """A UID derived from a UUID (PS3.5 B.2) made of a digest's first 16 bytes; at most 44 characters."""
    return f"2.25.{uuid.UUID(bytes=bytes.fromhex(sha256)[:16], version=5).int}"


def _scoring_files(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in directory.rglob("*"):
        relative = path.relative_to(directory)
        aside = any(part.startswith(".") for part in relative.parts[:-1]) or relative.parts[0] == FOLDER
        if not aside and relative.as_posix() not in NOT_SCORING and path.is_file():
            yield relative.as_posix(), path


class _Remembered:
    """Digests of large files, kept in ``<cache_dir>/digests.json``; an unreadable record is made again."""

    def __init__(self, cache_dir: Path | None) -> None:
        self._file = cache_dir / "digests.json" if cache_dir is not None else None
        self._known = self._read()

    def digest(self, path: Path) -> bytes:
        """sha256 of the file's bytes, 32 bytes."""
        status = path.stat()
        if self._file is None or status.st_size < _REMEMBERED_BYTES:
            return _digest(path)
        key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = _digest(path).hex()
            self._write(self._file)
        return bytes.fromhex(self._known[key])

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8")) if self._file is not None else {}
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, file: Path) -> None:
        part = file.with_suffix(".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self._known), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            log.warning("digests are not remembered: %s", error.strerror, extra={"action": "model.digest_cache"})


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
