"""The wheel holds the three packages with all their data, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("node", "handlers", "sr_writer")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return set(ZipFile(wheel).namelist())


def test_top_level_of_the_wheel_is_exactly_the_three_packages(wheel_names: set[str]) -> None:
    top = {name.partition("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_wheel_holds_every_file_of_the_packages(wheel_names: set[str]) -> None:
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file())
    expected = {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    assert expected - wheel_names == set()


def test_wheel_brings_licence_and_notice(wheel_names: set[str]) -> None:
    assert {Path(name).name for name in wheel_names} >= {"LICENSE", "NOTICE"}


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_normal(line.partition("==")[0]) for line in lines if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {_normal(requirement) for requirement in wanted} - pinned == set()


def test_constraints_name_exact_public_versions_and_no_place_to_get_them() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or ("==" in line and not set("+@/ ") & set(line)), line


def _normal(requirement: str) -> str:
    """Project name of a requirement in its normal form."""
    name = "".join(character if character.isalnum() or character in "-_." else " " for character in requirement)
    return name.split()[0].lower().replace("_", "-").replace(".", "-")
