"""The archive of the acceptance tests is real, reachable only inside its namespace, and gives back what it got."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import sqlalchemy as sa
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from node.database import connect
from tests.tools.network import Namespace, accepts
from tests.tools.orthanc import Orthanc


def small_file(path: Path) -> pydicom.Dataset:
    """A Secondary Capture of 2 by 2 pixels, written to ``path``."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.Modality = "HARNESS", "OT"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = b"\x00\x55\xaa\xff"
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def test_orthanc_gives_back_what_storescu_sent(namespace: Namespace, tmp_path: Path) -> None:
    sent = small_file(tmp_path / "small.dcm")
    with Orthanc(namespace, tmp_path / "orthanc") as orthanc:
        namespace.run(["storescu", "-R", "-aec", orthanc.ae_title, "127.0.0.1", str(orthanc.port),
                       tmp_path / "small.dcm"])
        assert list(orthanc.instances()) == [sent.SOPInstanceUID]
        stored = pydicom.dcmread(io.BytesIO(orthanc.instance_file(sent.SOPInstanceUID)))
        assert stored.PixelData == sent.PixelData
        assert [dataset.PatientID for dataset in orthanc.datasets([SecondaryCaptureImageStorage])] == ["HARNESS"]


def test_orthanc_is_not_reachable_from_outside_its_namespace(namespace: Namespace, tmp_path: Path) -> None:
    with Orthanc(namespace, tmp_path, port=14242, http_port=18042):
        assert namespace.call(accepts, 14242)
        assert not accepts(14242)


def test_orthanc_keeps_its_instances_over_a_restart(namespace: Namespace, tmp_path: Path) -> None:
    sent = small_file(tmp_path / "small.dcm")
    with Orthanc(namespace, tmp_path / "orthanc") as orthanc:
        namespace.run(["storescu", "-R", "127.0.0.1", str(orthanc.port), tmp_path / "small.dcm"])
        orthanc.stop()
        assert sent.SOPInstanceUID in orthanc.start().instances()


def test_postgresql_is_reachable_from_inside_a_namespace(namespace: Namespace, postgres_url: str) -> None:
    engine = connect(postgres_url)
    with namespace.call(engine.connect) as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()
