from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from node.domain import OperatingPoint
from node.errors import ConfigurationError, ModelUnavailable
from node.inference import checkpoints, identity, operating_points
from node.inference.checkpoints import Manifest, ModelKind
from node.inference.prompt_sets import load_prompt_set

PROMPTS = hashlib.sha256(b"prompts").hexdigest()
CHECKPOINT = Manifest(name="net", version="", demo=False)
POINT = OperatingPoint(present_above=0.7, absent_below=0.3)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder that looks like a complete SigLIP checkpoint."""
    folder = tmp_path / "net"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "siglip"}')
    (folder / "processor_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "sub" / "table.json").write_text("{}")
    return folder


def scorer(directory: Path) -> str:
    return identity.scorer_sha256(directory, PROMPTS)


def test_the_scorer_digest_is_paths_then_digests_then_prompts(directory: Path) -> None:
    told = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "processor_config.json", "sub/table.json"):
        told.update(name.encode() + b"\0" + hashlib.sha256((directory / name).read_bytes()).digest())
    told.update(bytes.fromhex(PROMPTS))
    assert scorer(directory) == told.hexdigest()


@pytest.mark.parametrize("name", [
    "operating_points.json", "operating_points/a.json", "metrics.json", "README.md", "ainode.json", ".git/HEAD"])
def test_a_file_that_cannot_change_a_score_does_not_change_the_digest(directory: Path, name: str) -> None:
    before = scorer(directory)
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("x")
    assert scorer(directory) == before


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: (folder / "model.safetensors").write_bytes(b"other!!"),
    lambda folder: (folder / "config.json").rename(folder / "other.json"),
    lambda folder: (folder / "sub" / "new.json").write_text("{}"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_change_changes_the_digest(directory: Path, change: Callable[[Path], object]) -> None:
    before = scorer(directory)
    change(directory)
    assert scorer(directory) != before


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(directory: Path, tmp_path: Path) -> None:
    weights, cache = directory / "model.safetensors", tmp_path / "cache"
    with weights.open("wb") as stream:
        stream.truncate(64 * 2**20)
    first = identity.scorer_sha256(directory, PROMPTS, cache)
    known = json.loads((cache / "digests.json").read_text())
    assert list(known) == [f"{weights}|{64 * 2**20}|{weights.stat().st_mtime_ns}"]
    assert identity.scorer_sha256(directory, PROMPTS, cache) == first == scorer(directory)
    with weights.open("r+b") as stream:
        stream.write(b"changed")
    assert identity.scorer_sha256(directory, PROMPTS, cache) == scorer(directory) != first


@pytest.mark.parametrize("record", ["{broken", "[]"])
def test_an_unreadable_record_of_digests_is_ignored(directory: Path, tmp_path: Path, record: str) -> None:
    (tmp_path / "digests.json").write_text(record)
    assert identity.scorer_sha256(directory, PROMPTS, tmp_path) == scorer(directory)


def test_other_operating_points_are_another_device() -> None:
    one = identity.model_identity(CHECKPOINT, PROMPTS, {"effusion": POINT})
    same = identity.model_identity(CHECKPOINT, PROMPTS, {"effusion": POINT})
    other = identity.model_identity(CHECKPOINT, PROMPTS, {})
    assert one == same
    assert one.device_uid != other.device_uid


def test_the_device_uid_is_a_valid_uuid_derived_uid() -> None:
    uid = identity.model_identity(CHECKPOINT, PROMPTS, {}).device_uid
    number = uid.removeprefix("2.25.")
    assert number.isdecimal() and int(number) < 2**128 and len(uid) <= 64


def test_a_checkpoint_without_a_version_is_named_by_its_digest() -> None:
    assert identity.model_identity(CHECKPOINT, PROMPTS, {}).version == PROMPTS[:12]


def test_the_manifest_comes_from_ainode_json(directory: Path) -> None:
    (directory / "ainode.json").write_text('{"name": "own", "version": "2", "demo": true, "note": "ignored"}')
    assert checkpoints.manifest(directory) == Manifest(name="own", version="2", demo=True)


def test_an_incomplete_manifest_is_refused(directory: Path) -> None:
    (directory / "ainode.json").write_text('{"name": "own", "version": 2}')
    with pytest.raises(ModelUnavailable, match=r"ainode\.json: expected name"):
        checkpoints.manifest(directory)


def test_a_hub_snapshot_is_named_by_repository_and_commit(tmp_path: Path) -> None:
    folder = tmp_path / "models--google--medsiglip-448" / "snapshots" / "0123abc"
    assert checkpoints.manifest(folder) == Manifest(name="google/medsiglip-448", version="0123abc", demo=False)


def test_a_plain_directory_is_named_by_its_folder(directory: Path) -> None:
    assert checkpoints.manifest(directory) == Manifest(name="net", version="", demo=False)


def test_a_directory_is_used_without_asking_the_hub(directory: Path) -> None:
    def never(hub_id: str, local_files_only: bool) -> str:
        raise AssertionError(f"asked the hub for {hub_id}")

    assert checkpoints.resolve_checkpoint(str(directory), ModelKind.TRIAGE, never) == directory


def test_a_cached_hub_model_is_used_without_the_network(directory: Path) -> None:
    asked: list[bool] = []

    def cached(hub_id: str, local_files_only: bool) -> str:
        asked.append(local_files_only)
        return str(directory)

    checkpoints.resolve_checkpoint("google/medsiglip-448", ModelKind.TRIAGE, cached)
    assert asked == [True]


def test_an_incomplete_cache_is_completed(directory: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()

    def fetch(hub_id: str, local_files_only: bool) -> str:
        return str(partial if local_files_only else directory)

    assert checkpoints.resolve_checkpoint("google/medsiglip-448", ModelKind.TRIAGE, fetch) == directory


@pytest.mark.parametrize("kind", ModelKind)
def test_an_unreachable_hub_model_says_what_to_do(kind: ModelKind) -> None:
    def offline(hub_id: str, local_files_only: bool) -> str:
        raise LocalEntryNotFoundError("offline")

    with pytest.raises(ModelUnavailable) as refused:
        checkpoints.resolve_checkpoint("some/model", kind, offline)
    for part in ("some/model", kind.value.hub_id, kind.value.key, checkpoints.TERMS, "demo"):
        assert part in str(refused.value)


def test_a_missing_directory_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailable, match=r"checkpoint = /no/such: is not a directory.*google/medsiglip-448"):
        checkpoints.resolve_checkpoint("/no/such", ModelKind.TRIAGE)


def test_a_missing_shard_is_named(directory: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "model-1.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match=r"lacks model-2\.safetensors\."):
        checkpoints.resolve_checkpoint(str(directory), ModelKind.TRIAGE)


def test_a_model_of_another_architecture_is_refused(directory: Path) -> None:
    with pytest.raises(ModelUnavailable, match="holds a model of type 'siglip', expected 'gemma3'"):
        checkpoints.resolve_checkpoint(str(directory), ModelKind.FINDINGS)


PROMPT_SET = load_prompt_set("demo-chest")


def write_points(folder: Path, name: str = operating_points.FILE, **changes: object) -> Path:
    told = {"prompt_set": "demo-chest", "scorer_sha256": "ab" * 32}
    told |= {"points": {"effusion": {"present_above": 0.7, "absent_below": 0.3}}} | changes
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(told))
    return folder / name


def load_points(
    folder: Path, allow_unvalidated: bool = False, site: Path | None = None
) -> operating_points.Calibration:
    return operating_points.load(folder, PROMPT_SET, "ab" * 32, allow_unvalidated, site)


@pytest.mark.parametrize("allow_unvalidated", [False, True])
def test_points_measured_for_this_scorer_are_used(tmp_path: Path, allow_unvalidated: bool) -> None:
    write_points(tmp_path)
    told = load_points(tmp_path, allow_unvalidated)
    assert dict(told.points) == {"effusion": POINT}
    assert not told.unvalidated and not told.shadow_reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scorer_sha256": "cd" * 32}, "other weights"),
        ({"prompt_set": "x"}, "with prompt set 'demo-chest', only with 'x'"),
        ({"points": {}}, "empty"),
    ],
)
def test_points_of_another_scorer_mean_shadow(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    write_points(tmp_path, **changes)
    told = load_points(tmp_path)
    assert not told.points
    assert reason in told.shadow_reason


def test_without_points_the_model_is_in_shadow_unless_unvalidated_is_allowed(tmp_path: Path) -> None:
    assert "no cut-off was measured for this checkpoint" in load_points(tmp_path).shadow_reason
    told = load_points(tmp_path, allow_unvalidated=True)
    assert told.unvalidated
    assert dict(told.points) == {finding.key: finding.nominal for finding in PROMPT_SET.findings}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"effusion": {"present_above": 0.2, "absent_below": 0.3}}, "must not be below absent_below"),
        ({"effusion": {"present_above": 2, "absent_below": 0.3}}, r"points\.effusion\.present_above = 2"),
        ({"fracture": {"present_above": 0.7, "absent_below": 0.3}}, r"\['fracture'\] are for no finding"),
    ],
)
def test_points_that_cannot_be_meant_are_refused(tmp_path: Path, points: object, message: str) -> None:
    write_points(tmp_path, points=points)
    with pytest.raises(ConfigurationError, match=message):
        load_points(tmp_path)


def test_every_prompt_set_of_a_checkpoint_has_a_file_of_its_own(tmp_path: Path) -> None:
    write_points(tmp_path, prompt_set="fundus")
    write_points(tmp_path, "operating_points/older.json", scorer_sha256="cd" * 32)
    fitting = write_points(tmp_path, "operating_points/chest.json")
    told = load_points(tmp_path)
    assert (dict(told.points), told.file) == ({"effusion": POINT}, fitting)


def test_points_of_the_site_come_before_those_of_the_checkpoint(tmp_path: Path) -> None:
    shipped = write_points(tmp_path / "net")
    site = tmp_path / "site"
    site.mkdir()
    assert load_points(tmp_path / "net", site=site).file == shipped
    write_points(site, "old.json", scorer_sha256="cd" * 32)
    assert load_points(tmp_path / "net", site=site).file == shipped
    own = write_points(site, "new.json", points={"effusion": {"present_above": 0.9, "absent_below": 0.1}})
    told = load_points(tmp_path / "net", site=site)
    assert (told.points["effusion"].present_above, told.file) == (0.9, own)


def test_two_files_for_the_same_are_refused(tmp_path: Path) -> None:
    write_points(tmp_path)
    write_points(tmp_path, "operating_points/again.json")
    with pytest.raises(ConfigurationError, match=r"again\.json and .* are for the same prompt set 'demo-chest'"):
        load_points(tmp_path)


def test_a_folder_of_the_site_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"models\.triage\.operating_points = .*none: is not a directory"):
        load_points(tmp_path, site=tmp_path / "none")
