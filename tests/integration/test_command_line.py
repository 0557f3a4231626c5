"""``ainode`` as a person types it: errors are a sentence, and what a process list shows holds no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tools.network import free_port

ROOT = Path(__file__).parents[2]
STARTS_OF_PROCESSES = """
import sys
from pathlib import Path
sys.addaudithook(lambda event, told: print(told[1]) if event == "subprocess.Popen" else None)
from node import app, config
app.open_database(config.load(Path(sys.argv[1]))).dispose()
"""


def written(folder: Path, url: str) -> Path:
    """A configuration file with its database at ``url``."""
    values = {"node": {"port": 0, "data_dir": str(folder / "data")}, "database": {"url": url}, "web": {"port": 0}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [
    "worklist", "migrate", "audit verify", "delivery list", "complete 1.2.3", "run --role receiver", "run --role web"])
def test_a_database_that_is_away_is_one_sentence_without_its_password(tmp_path: Path, command: str) -> None:
    config = written(tmp_path, f"postgresql://node:s3cret@127.0.0.1:{free_port()}/node")
    done = run("-m", "node", *command.split(), "--config", str(config))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("StorageError: database postgresql+psycopg://node:***@127.0.0.1")
    assert "s3cret" not in done.stdout + done.stderr


def test_a_database_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    done = run("-m", "node", "worklist", "--config", str(written(tmp_path, "sqlite:////proc/none/node.sqlite")))
    (line,) = done.stderr.strip().splitlines()
    assert (done.returncode, "unable to open database file" in line) == (2, True)


def test_no_process_is_started_with_the_url_of_the_database_in_its_arguments(
    tmp_path: Path, database_url: str
) -> None:
    done = run("-c", STARTS_OF_PROCESSES, str(written(tmp_path, database_url)))
    assert done.returncode == 0, done.stderr
    assert "node.migrate" in done.stdout
    assert database_url.partition("?")[0] not in done.stdout
