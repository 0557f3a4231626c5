"""Orthanc as a sender: what it gives the node is what it has, and it asks the node to commit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from node.demo.pacs import SmallPacs
from tests.tools.commitment import RelayNode, Sender, relay_node
from tests.tools.instances import chest, encoded
from tests.tools.network import Namespace
from tests.tools.orthanc import Orthanc
from tests.tools.receiver import ENGINES, REAL, Sent, rows_of, send, sent
from tests.tools.waiting import wait_until

PORT = 11112
COMPRESSED = (
    "GDCMJ2K_TextGBR.dcm", "RG1_J2KI.dcm", "RG2_JPLY_fixed.dcm", "NM1_JLSN.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_dcmtk_pebpcyps4.dcm",
)
LARGE = 2800
"""Rows and columns: some 16 MB, over a hundred PDUs."""


@dataclass(frozen=True)
class Site:
    """Orthanc in front of a node that has a small PACS behind it, all in one namespace."""

    namespace: Namespace
    orthanc: Orthanc
    archive: SmallPacs
    node: RelayNode

    def load(self, *instances: Sent) -> None:
        """Into Orthanc, past the node."""
        for one in instances:
            assert self.namespace.call(send, self.orthanc.port, one) == 0x0000

    def received(self) -> dict[str, FileDataset]:
        """What the node has, by SOP Instance UID."""
        return {row.sop_instance_uid: dcmread(self.node.node.data_dir / row.path)
                for row in rows_of(self.node.node.engine)}


@pytest.fixture(params=ENGINES)
def site(
    request: pytest.FixtureRequest, namespace: Namespace, sqlite: sa.Engine, data_dir: Path, tmp_path: Path
) -> Iterator[Site]:
    with ExitStack() as stack:
        modalities = {"AINODE": ("127.0.0.1", PORT)}
        orthanc = stack.enter_context(Orthanc(namespace, tmp_path / "orthanc", modalities))
        archive = namespace.call(stack.enter_context, SmallPacs("PACS", tmp_path / "pacs"))
        archive.meet("AINODE", "127.0.0.1", PORT)
        caller = Sender(orthanc.ae_title, orthanc.port)
        node = namespace.call(stack.enter_context, relay_node(
            sqlite, data_dir, archive.port, caller, receive_engine=request.param, port=PORT))
        yield Site(namespace, orthanc, archive, node)


def large() -> Sent:
    """A radiograph of many PDUs."""
    image = chest("1.2.3.77", Rows=LARGE, Columns=LARGE)
    image.PixelData = np.random.default_rng(1).integers(0, 4096, LARGE * LARGE).astype(np.uint16).tobytes()
    return Sent(image.SOPClassUID, image.SOPInstanceUID, ExplicitVRLittleEndian, encoded(image))


def test_large_and_compressed_instances_are_stored_as_orthanc_has_them(site: Site) -> None:
    instances = [large(), *(sent(REAL / name) for name in COMPRESSED)]
    site.load(*instances)
    site.orthanc.store("AINODE")
    received = site.received()
    assert received.keys() == {one.sop_instance_uid for one in instances}
    for one in instances:
        ours, theirs = received[one.sop_instance_uid], dcmread(
            io.BytesIO(site.orthanc.instance_file(one.sop_instance_uid)))
        assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
        assert ours == theirs


def test_orthanc_hears_what_the_archive_committed(site: Site) -> None:
    there, missing = (sent(REAL / name) for name in COMPRESSED[:2])
    site.load(there, missing)
    site.namespace.call(send, site.archive.port, there)
    transaction_uid = site.orthanc.store("AINODE", storage_commitment=True)
    site.node.read_all()
    assert site.orthanc.commitment(transaction_uid)["Status"] == "Pending"
    site.namespace.call(site.node.until, lambda: site.node.state() == "reported")
    heard = wait_until(lambda: _settled(site.orthanc.commitment(transaction_uid)))
    assert heard["Status"] == "Failure"
    assert [item["SOPInstanceUID"] for item in heard["Success"]] == [there.sop_instance_uid]
    assert [(item["SOPInstanceUID"], item["FailureReason"]) for item in heard["Failures"]] == [
        (missing.sop_instance_uid, 0x0112)]


def _settled(said: dict[str, object]) -> dict[str, object]:
    return said if said["Status"] != "Pending" else {}
