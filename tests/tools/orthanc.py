"""A real archive: Orthanc with its own configuration and folders, inside a network namespace."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any
from urllib.error import URLError

import pydicom

from tests.tools.network import Namespace, post, stop
from tests.tools.waiting import wait_until


class Orthanc:
    """Storage and Storage Commitment SCP on ``port``.

    ``modalities`` maps AE titles to (host, port). Orthanc answers a commitment request only to a
    peer named there, on a new association.
    """

    def __init__(
        self, namespace: Namespace, folder: Path, modalities: Mapping[str, tuple[str, int]] | None = None,
        *, ae_title: str = "ORTHANC", port: int = 4242, http_port: int = 8042,
    ) -> None:
        self.namespace, self.folder = namespace, folder
        self.ae_title, self.port, self.http_port = ae_title, port, http_port
        self._modalities = modalities or {}
        self._process: Popen[Any] | None = None

    def start(self) -> Orthanc:
        """Start and wait until it answers over HTTP."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(), indent=1), encoding="ascii")
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = self.namespace.popen(["Orthanc", configuration], stdout=log, stderr=log)
        wait_until(self._answers, 60, f"Orthanc over HTTP, see {self.folder}/orthanc.log")
        return self

    def stop(self) -> None:
        """End it; what it stored stays in its folder for the next start."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def instances(self) -> dict[str, str]:
        """Orthanc's identifier by SOP Instance UID."""
        listed = json.loads(self._get("/instances?expand"))
        return {entry["MainDicomTags"]["SOPInstanceUID"]: entry["ID"] for entry in listed}

    def instance_file(self, sop_instance_uid: str) -> bytes:
        """The Part 10 file of an instance. Raises KeyError when it is not stored."""
        return self._get(f"/instances/{self.instances()[sop_instance_uid]}/file")

    def datasets(self, sop_class_uids: Sequence[str] = ()) -> list[pydicom.FileDataset]:
        """Every stored instance without its pixels, or those of the given SOP classes."""
        files = (self._get(f"/instances/{identifier}/file") for identifier in self.instances().values())
        read = (pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True) for file in files)
        return [dataset for dataset in read if not sop_class_uids or dataset.SOPClassUID in sop_class_uids]

    def store(self, modality: str, *, storage_commitment: bool = False) -> str:
        """Send every instance to a modality and wait for it; the Transaction UID where commitment was asked for."""
        body = {"Resources": list(self.instances().values()), "StorageCommitment": storage_commitment}
        said = json.loads(self.namespace.call(
            post, f"http://127.0.0.1:{self.http_port}/modalities/{modality}/store", json.dumps(body).encode()))
        assert said["FailedInstancesCount"] == 0, said
        return str(said.get("StorageCommitmentTransactionUID", ""))

    def commitment(self, transaction_uid: str) -> dict[str, Any]:
        """What it knows about a request of its own."""
        return dict(json.loads(self._get(f"/storage-commitment/{transaction_uid}")))

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Orthanc ended: see {self.folder}/orthanc.log"
        try:
            return bool(self._get("/system"))
        except URLError:
            return False

    def _get(self, path: str) -> bytes:
        return self.namespace.get(f"http://127.0.0.1:{self.http_port}{path}")

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomModalities": {title: [title, *place] for title, place in self._modalities.items()},
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
            "Plugins": [],
        }

    def __enter__(self) -> Orthanc:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
