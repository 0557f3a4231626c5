"""Who may import whom. The lists below are the architecture; a module without a place in them fails."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("node", "handlers", "sr_writer")

#: From the ground up: a module imports only from layers below its own. A folder counts as one module.
LAYERS = (
    {"domain", "errors"},
    {"config", "observability", "resizing"},
    {"interfaces"},
    {"database"},
    {"audit", "bell", "hosts", "jobs", "migrations", "roles", "schema", "tls"},
    {"header", "images", "routing", "guardrails", "inference", "sr_writer"},
    {"arrivals", "network_checks", "timers"},
    {"completion"},
    {"announcements", "commitment", "heat_maps", "intake", "priors", "quiet_series", "results", "studies", "versions",
     "worklist"},
    {"dicom_association"},
    {"dicom_client", "dicom_query"},
    {"dicom_archive"},
    {"delivery", "housekeeping", "notify", "source"},
    {"stages"},
    {"handlers", "pipeline", "web"},
    {"fast_store"},
    {"server", "clerk", "supervisor", "checkup", "migrate"},
    {"app", "demo", "conformance"},
    {"commands"},
    {"__main__"},
)

#: A heavy library and the only places that may load it. A place is a module or the start of one's name.
ONLY_IN = {
    "pynetdicom": ("node.dicom_", "handlers.", "node.fast_store", "node.server", "node.demo."),
    "torch": ("node.inference.", "node.demo.train", "node.demo.evaluate", "node.demo.answers"),
    "transformers": ("node.inference.", "node.demo.train", "node.demo.evaluate", "node.demo.answers"),
    "xgrammar": ("node.inference.",),
    "httpx2": ("node.inference.model_server",),
    "dbos": ("node.jobs",),
    "highdicom": ("sr_writer.",),
    "fastapi": ("node.web.",),
}

#: What a module may use besides the standard library, where that is less than its layer allows.
NOTHING_BUT = {
    "domain": {"numpy", "domain"},
    "errors": set(),
    "sr_writer": {"sr_writer", "domain", "errors", "highdicom", "pydicom", "numpy"},
}

NEVER = {
    "handlers": {"inference", "pipeline", "sr_writer", "torch", "transformers", "dbos"},
    "inference": {"pydicom", "pynetdicom"},
}

FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def element(module: str) -> str:
    """The module or folder that ``module`` belongs to; for a foreign one, its distribution's package."""
    first, _, rest = module.partition(".")
    return (rest.partition(".")[0] or "node") if first == "node" else first


def imported(file: Path) -> Iterator[str]:
    """Full names of everything ``file`` imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module_name(file)}: line {node.lineno}: imports are absolute here"
            assert node.module is not None
            inside = (f"node.{alias.name}" for alias in node.names if alias.name != "__version__")
            yield from (inside if node.module == "node" else [node.module])


def layer(name: str) -> int:
    places = [number for number, names in enumerate(LAYERS) if name in names]
    assert places, f"{name} has no place in LAYERS"
    return places[0]


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_a_module_imports_only_from_layers_below(file: Path) -> None:
    own = element(module_name(file))
    for target in {element(name) for name in imported(file) if name.partition(".")[0] in PACKAGES}:
        if target == "node":  # the package itself: its version and nothing else
            continue
        assert own == "node" or target == own or layer(target) < layer(own), f"{own} imports {target}"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_a_library_is_used_only_in_its_place(file: Path) -> None:
    module = module_name(file)
    own, used = element(module), {element(name) for name in imported(file)}
    for library in used & ONLY_IN.keys():
        assert f"{module}.".startswith(ONLY_IN[library]), f"{module} imports {library}"
    foreign = {name for name in used if name not in sys.stdlib_module_names}
    assert own not in NOTHING_BUT or foreign <= NOTHING_BUT[own], f"{module} imports {foreign - NOTHING_BUT[own]}"
    assert not foreign & NEVER.get(own, set()), f"{module} imports {foreign & NEVER[own]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    probe = f"import sys, {package}; print(*sorted({set(ONLY_IN) | {'pydicom'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    top_level = {file.stem for file in FILES if file.stem not in ("__init__", "__main__")}
    assert not top_level & sys.stdlib_module_names
    assert not set(PACKAGES) & sys.stdlib_module_names


def test_a_test_folder_is_never_named_after_a_package() -> None:
    folders = {folder.name for folder in (ROOT / "tests").rglob("*") if folder.is_dir()}
    assert not folders & set(PACKAGES)
