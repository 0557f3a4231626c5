"""An earlier study through the whole program: asked of a real archive, moved, kept; only findings wait for it."""

from __future__ import annotations

from pathlib import Path

from node.config import Destination
from node.dicom_client import DicomClient
from tests.tools.instances import chest
from tests.tools.network import Namespace, free_port
from tests.tools.orthanc import Orthanc
from tests.tools.radiographs import write
from tests.tools.running_node import AE_TITLE, RunningNode

PATIENT = {"PatientID": "D1", "IssuerOfPatientID": "HOSPITAL", "PatientBirthDate": "19800101", "PatientSex": "F"}


def test_an_earlier_study_is_moved_into_its_lane_and_findings_go_on(namespace: Namespace, tmp_path: Path) -> None:
    archive_port = free_port()
    source = {"name": "archive", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": archive_port}
    node = RunningNode(tmp_path / "node", namespace=namespace, priors=[source])
    orthanc = Orthanc(namespace, tmp_path / "orthanc", {AE_TITLE: ("127.0.0.1", node.port)}, port=archive_port)
    earlier = write(chest("1.2.1", StudyDate="20200101", **PATIENT), tmp_path / "earlier.dcm")
    current = write(chest("1.2.2", StudyTime="120000", **PATIENT), tmp_path / "current.dcm")
    client = DicomClient("CR1")
    with orthanc, node.start():
        namespace.call(client.store, Destination(**source), [earlier])
        namespace.call(client.store, Destination(
            name="node", ae_title=AE_TITLE, host="127.0.0.1", port=node.port), [current])
        node.wait_for_studies({"1.2.2": {"state": "confirmed", "report_state": "written"}})
        told = node.actions("1.2.2")
        assert [one for one in told if one.startswith("prior.")] == ["prior.asked", "prior.found", "prior.received"]
        assert told.index("prior.asked") < told.index("prior.received") < told.index("stage.findings")
        assert "1.2.1" not in node.worklist()
        assert [tuple(row) for row in node.rows("SELECT lane, version FROM study WHERE study_instance_uid = '1.2.1'")
                ] == [("prior", 0)]
