"""Orthanc queries the node and has its results moved to itself; a caller from another address is no neighbour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import sqlalchemy as sa

from node.config import Config
from node.intake import Intake
from node.server import Server
from tests.tools.network import Namespace
from tests.tools.orthanc import Orthanc
from tests.tools.receiver import stored_data_set
from tests.tools.result_shelf import Shelf

ELSEWHERE = "192.0.2.1"
"""An address of the namespace that is not loopback (RFC 5737)."""
PORT = 11112
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"


class UnicodeOrthanc(Orthanc):
    """Asks in UTF-8; by default it asks in Latin-1, and keeps of an answer what that has letters for."""

    def _configuration(self) -> dict[str, Any]:
        return {**super()._configuration(), "DefaultEncoding": "Utf8"}


@pytest.fixture
def shelf(sqlite: sa.Engine, data_dir: Path) -> Shelf:
    shelf = Shelf(sqlite, data_dir)
    shelf.keep("1.2.1", PatientName=KOREAN, PatientID="P1")
    shelf.keep("1.2.2", PatientID="P1", demo=True)
    return shelf


@pytest.fixture
def node(shelf: Shelf, namespace: Namespace) -> Iterator[None]:
    """The receiver, on every address of the namespace."""
    namespace.run(["ip", "addr", "add", f"{ELSEWHERE}/32", "dev", "lo"])
    peers = ({"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242},)
    config = Config(node={"host": "0.0.0.0", "port": PORT, "data_dir": shelf.data_dir}, peers=peers)
    server = Server(config, Intake(shelf.engine, shelf.data_dir, "test", 0), print, shelf.engine, "test")
    namespace.call(server.start)
    yield
    server.stop()


def post(namespace: Namespace, path: str, value: Any) -> Any:
    """A POST to Orthanc; its answer."""
    request = Request(f"http://127.0.0.1:8042{path}", json.dumps(value).encode(), method="POST")

    def send() -> bytes:
        with urlopen(request, timeout=60) as response:
            body: bytes = response.read()
            return body

    return json.loads(namespace.call(send))


def test_orthanc_finds_and_retrieves_results(node: None, shelf: Shelf, namespace: Namespace, tmp_path: Path) -> None:
    with UnicodeOrthanc(namespace, tmp_path / "orthanc", {"AINODE": ("127.0.0.1", PORT)}) as orthanc:
        asked = {"Level": "Study", "Query": {"PatientName": "*길동*", "ModalitiesInStudy": "SR"}}
        query = post(namespace, "/modalities/AINODE/query", asked)["ID"]
        path = f"http://127.0.0.1:8042/queries/{query}/answers?expand&simplify"
        found, = json.loads(namespace.get(path))
        assert (found["PatientName"], found["StudyInstanceUID"]) == (KOREAN, "1.2.1")
        post(namespace, f"/queries/{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        held = orthanc.instances()
        assert len(held) == 2
        for uid in held:
            (tmp_path / "got").write_bytes(orthanc.instance_file(uid))
            assert stored_data_set(tmp_path / "got") == stored_data_set(shelf.file(uid))


@pytest.mark.parametrize(("address", "studies"), [("127.0.0.1", 2), (ELSEWHERE, 1)])
def test_demo_results_are_shown_on_this_machine_only(
    node: None, namespace: Namespace, address: str, studies: int, tmp_path: Path
) -> None:
    wanted = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID"]
    said = namespace.run(["findscu", "-v", "-S", "-aec", "AINODE", *wanted, address, str(PORT)]).stdout
    assert said.count("Find Response: ") == studies
    every = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1"]
    namespace.run(["getscu", "-P", "-aec", "AINODE", "-od", tmp_path, *every, address, str(PORT)])
    assert len([path for path in tmp_path.iterdir() if "2.25." in path.name]) == 2 * studies
