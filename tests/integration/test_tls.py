"""The TLS port: DCMTK, openssl, pynetdicom and Python's own client against it."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pynetdicom.sop_class import Verification

from node.config import ReceiveTLS
from node.errors import ConfigurationError
from node.tls import TLS_1_2_SUITES, Certificate, authority_expiry, own_certificate, server_context
from tests.tools.certificates import Authority, Issued, trusting
from tests.tools.network import free_port
from tests.tools.receiver import (
    CT,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    REAL,
    Receiver,
    association,
    audited,
    details,
    made,
    receiver,
    rejection,
    send,
    store,
    stored_data_set,
)
from tests.tools.waiting import wait_until

ECHO = (Verification, IMPLICIT_LITTLE)
CALLING = (1, 1, 3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def own(authority: Authority) -> Issued:
    """The node's certificate."""
    return authority.issue("ainode", alternatives="DNS:localhost,IP:127.0.0.1")


@pytest.fixture(scope="module")
def ct1(authority: Authority) -> Issued:
    """A modality's certificate; its common name and its DNS name differ."""
    return authority.issue("Scanner One", alternatives="DNS:ct1.example")


@pytest.fixture(scope="module")
def mr1(authority: Authority) -> Issued:
    return authority.issue("mr1.example")


@contextmanager
def encrypted(engine: sa.Engine, data_dir: Path, own: Issued, *, mutual: bool = False, **receive: Any
              ) -> Iterator[Receiver]:
    """A receiver with a plain and a TLS port. ``mutual`` asks peers for certificates."""
    tls = {"port": free_port(), "certificate": own.certificate, "key": own.key, **receive.pop("tls", {})}
    if mutual:
        tls["ca"] = own.ca
    with receiver(engine, data_dir, receive={"tls": tls, **receive}) as node:
        assert node.server.tls_port == tls["port"]
        yield node


def over(context: ssl.SSLContext) -> dict[str, Any]:
    """What makes an :func:`association` one over TLS."""
    return {"tls_args": (context, "localhost")}


def s_client(port: int, *options: str, said: str = "") -> str:
    """Everything openssl's client prints. ``said`` are its commands, such as R to renegotiate."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    done = subprocess.run(command, input=said, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def storescu(port: int, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["storescu", "-v", *map(str, options), "-aec", "AINODE", "127.0.0.1", str(port),
               str(REAL / "chrKoreanMulti.dcm")]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_both_ports_receive_at_once(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        sent = made(filling=200_000)
        with (
            association(node.port, (CT, EXPLICIT_LITTLE)) as plain,
            association(node.server.tls_port, (CT, EXPLICIT_LITTLE), **over(trusting(own.ca))) as hidden,
        ):
            assert [store(plain, made("1.2.9")), store(hidden, sent), store(plain, made("1.2.10"))] == [0, 0, 0]
        assert stored_data_set(node.data_dir / node.rows()[1].path) == sent.data


@pytest.mark.parametrize(
    ("maximum", "version", "suites"),
    [
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3", ("TLS_AES_256_GCM_SHA384",)),
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2", TLS_1_2_SUITES),
    ],
)
def test_version_and_cipher_suite_are_those_of_bcp_195(
    sqlite: sa.Engine, data_dir: Path, own: Issued, ct1: Issued, maximum: ssl.TLSVersion, version: str,
    suites: tuple[str, ...],
) -> None:
    with (
        encrypted(sqlite, data_dir, own, mutual=True) as node,
        association(node.server.tls_port, ECHO, **over(ct1.client(maximum))) as made_one,
    ):
        connection = made_one.dul.socket.socket
        assert (connection.version(), connection.compression()) == (version, None)
        assert connection.cipher()[0] in suites
        assert made_one.send_c_echo().Status == 0


def test_openssl_sees_the_same(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        newest, older = (s_client(node.server.tls_port, version) for version in ("-tls1_3", "-tls1_2"))
        assert "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" in newest
        suite, = re.findall(r"TLSv1\.2, Cipher is (\S+)", older)
        assert suite in TLS_1_2_SUITES
        assert "Compression: NONE" in older


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"),  # CBC
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),  # not among those of RFC 9325 section 4.2
        ("-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),  # key exchange with RSA: no forward secrecy
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"),
    ],
    ids=" ".join,
)
def test_what_is_weaker_is_refused(sqlite: sa.Engine, data_dir: Path, own: Issued, options: tuple[str, ...]) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        assert "Cipher is (NONE)" in s_client(node.server.tls_port, *options)
        assert re.search("cipher suites|TLS version", audited(node, "association.handshake_failed")[0]["reason"])


def test_the_oldest_version_is_a_setting(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own, tls={"min_version": "1.3"}) as node:
        assert "Cipher is (NONE)" in s_client(node.server.tls_port, "-tls1_2")
        assert "TLSv1.3, Cipher is" in s_client(node.server.tls_port)


def test_nobody_renegotiates(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        told = s_client(node.server.tls_port, "-tls1_2", said="R\n")
        assert "RENEGOTIATING" in told
        assert "no renegotiation" in told


def test_dcmtk_stores_over_tls(sqlite: sa.Engine, data_dir: Path, own: Issued, ct1: Issued) -> None:
    with encrypted(sqlite, data_dir, own, mutual=True) as node:
        done = storescu(node.server.tls_port, "+tls", ct1.key, ct1.certificate, "+cf", ct1.ca)
        assert done.returncode == 0, done.stderr + done.stdout
        assert len(node.rows()) == 1
        event, = audited(node, "association.accepted")
        assert event["certificate"] == "ct1.example"
        assert event["certificate_sha256"] == own_certificate(_settings(ct1)).sha256


def test_an_anonymous_peer_may_store_where_no_authority_is_set(
    sqlite: sa.Engine, data_dir: Path, own: Issued
) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        assert storescu(node.server.tls_port, "+tla", "+cf", own.ca).returncode == 0
        assert "certificate" not in audited(node, "association.accepted")[0]


def test_an_anonymous_peer_is_refused_where_one_is(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own, mutual=True) as node:
        assert storescu(node.server.tls_port, "+tla", "+cf", own.ca).returncode != 0
        assert "no certificate" in audited(node, "association.handshake_failed")[0]["reason"]
        assert "association.accepted" not in node.actions()


def test_a_certificate_of_another_authority_or_an_expired_one_is_refused(
    sqlite: sa.Engine, data_dir: Path, own: Issued, authority: Authority, tmp_path: Path
) -> None:
    foreign, expired = Authority(tmp_path / "other", "Other CA").issue("ct1.example"), authority.expired("ct1.example")
    with encrypted(sqlite, data_dir, own, mutual=True) as node:
        for shown in (foreign, expired):
            done = storescu(node.server.tls_port, "+tls", shown.key, shown.certificate, "+cf", own.ca)
            assert done.returncode != 0
        reasons = [event["reason"] for event in audited(node, "association.handshake_failed", 2)]
        assert "unable to get local issuer certificate" in reasons[0]
        assert "expired" in reasons[1]
        assert node.rows() == []


def test_a_certificate_is_bound_to_its_ae_title_both_ways(
    sqlite: sa.Engine, data_dir: Path, own: Issued, ct1: Issued, mr1: Issued
) -> None:
    bound = ({"ae_title": "CT1", "certificate": "ct1.example"}, {"ae_title": "MR1", "certificate": "MR1.example"})
    with encrypted(sqlite, data_dir, own, mutual=True, allowed_peers=bound) as node:
        for title, shown, may in (("CT1", ct1, True), ("MR1", ct1, False), ("CT1", mr1, False), ("MR1", mr1, True)):
            more = over(shown.client())
            with association(node.server.tls_port, ECHO, ae_title=title, **more) as made_one:
                assert made_one.is_established if may else rejection(made_one) == CALLING
        with association(node.port, ECHO, ae_title="CT1") as made_one:
            assert rejection(made_one) == CALLING
        reasons = [event["reason"] for event in audited(node, "association.rejected", 3)]
        assert reasons == [
            "calling AE title 'MR1' needs the certificate MR1.example, its own bears ct1.example, Scanner One",
            "calling AE title 'CT1' needs the certificate ct1.example, its own bears mr1.example",
            "calling AE title 'CT1' has to come over TLS with the certificate ct1.example",
        ]


def test_a_common_name_binds_too(sqlite: sa.Engine, data_dir: Path, own: Issued, ct1: Issued) -> None:
    bound = ({"certificate": "Scanner One"},)
    with (
        encrypted(sqlite, data_dir, own, mutual=True, allowed_peers=bound) as node,
        association(node.server.tls_port, ECHO, **over(ct1.client())) as made_one,
    ):
        assert made_one.is_established


def test_plain_dicom_on_the_tls_port_is_told_apart(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        assert storescu(node.server.tls_port).returncode != 0
        event, = audited(node, "association.handshake_failed")
        assert event == {"source_host": "127.0.0.1", "reason": "what came is not TLS, plain DICOM perhaps"}


def test_tls_on_the_plain_port_harms_nobody(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        assert storescu(node.port, "+tla", "+cf", own.ca).returncode != 0
        assert send(node.port, made()) == 0


def test_a_handshake_that_stalls_holds_nobody_up_and_ends(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own, network_timeout_seconds=2.0, max_associations=1) as node:
        silent, halting = (socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=30) for _ in range(2))
        halting.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        with association(node.server.tls_port, ECHO, **over(trusting(own.ca))) as made_one:
            assert made_one.send_c_echo().Status == 0
        assert [silent.recv(100), halting.recv(100)] == [b"", b""]
        reasons = [event["reason"] for event in audited(node, "association.handshake_failed", 2)]
        assert reasons == ["no TLS handshake within 2 s"] * 2
        silent.close()
        halting.close()


def test_a_port_check_leaves_no_trace_in_the_audit(
    sqlite: sa.Engine, data_dir: Path, own: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), encrypted(sqlite, data_dir, own) as node:
        socket.create_connection(("127.0.0.1", node.server.tls_port)).close()
        wait_until(lambda: "tls.left" in [getattr(record, "action", "") for record in caplog.records])
        assert details(node, "association.handshake_failed") == []


def test_a_stopping_server_waits_for_no_handshake(sqlite: sa.Engine, data_dir: Path, own: Issued) -> None:
    with encrypted(sqlite, data_dir, own) as node:
        stalled = socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=30)
        listener = node.server._listeners[1]
        wait_until(lambda: listener._shaking)
        node.server.stop()
        assert stalled.recv(100) == b""
        assert details(node, "association.handshake_failed") == []  # it was cut, not timed out
        stalled.close()


@pytest.mark.parametrize(("days", "warned"), [(10, True), (100, False)])
def test_a_certificate_that_will_expire_is_told_at_start(
    sqlite: sa.Engine, data_dir: Path, authority: Authority, caplog: pytest.LogCaptureFixture, days: int, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING), encrypted(sqlite, data_dir, authority.issue("soon", days=days)):
        told = [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "tls.expiring"]
    assert [("in 9 days" in text) for text in told] == [True] * warned


def test_an_expired_certificate_is_told_at_start(
    sqlite: sa.Engine, data_dir: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), encrypted(sqlite, data_dir, authority.expired("old")):
        assert "expired on 2025-01-01" in caplog.text


def _settings(issued: Issued, **changed: Path | None) -> ReceiveTLS:
    return ReceiveTLS(port=1, certificate=issued.certificate, key=issued.key).model_copy(update=changed)


def test_the_own_certificate_is_read_as_a_client_would(own: Issued, authority: Authority) -> None:
    found = own_certificate(_settings(own))
    assert isinstance(found, Certificate)
    assert (found.names, found.addresses) == (("localhost", "ainode"), ("127.0.0.1",))
    assert own_certificate(_settings(authority.expired("past"))).not_after.isoformat() == "2025-01-01T00:00:00+00:00"
    assert [name for name, _ in authority_expiry(own.ca)] == ["Imaging CA"]


def test_a_certificate_that_no_client_may_take_is_named(authority: Authority) -> None:
    client_only = authority.issue("client", extension="extendedKeyUsage=clientAuth")
    with pytest.raises(ConfigurationError, match=r"client\.pem: no client could take it \(unsuitable certificate"):
        own_certificate(_settings(client_only))


def test_a_file_that_cannot_be_used_is_named(own: Issued, mr1: Issued, authority: Authority, tmp_path: Path) -> None:
    locked, broken, weak = tmp_path / "locked.key", tmp_path / "broken.pem", tmp_path / "weak.pem"
    subprocess.run(["openssl", "pkey", "-in", own.key, "-aes256", "-passout", "pass:secret", "-out", locked],
                   check=True)
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-out", weak,
                    "-keyout", tmp_path / "weak.key"], check=True, capture_output=True)
    for changed, words in (
        ({"certificate": None}, "needs receive.tls.certificate and receive.tls.key"),
        ({"certificate": tmp_path / "none.pem"}, r"receive.tls.certificate = .*none\.pem: cannot be read"),
        ({"certificate": own.key}, r"receive.tls.certificate = .*ainode\.key: is not a PEM file with 'BEGIN CERT"),
        ({"certificate": broken}, r"broken\.pem: cannot be used"),
        ({"key": own.certificate}, r"receive.tls.key = .*ainode\.pem: is not a PEM file with 'PRIVATE KEY'"),
        ({"key": mr1.key}, "they do not belong together"),
        ({"key": locked}, r"locked\.key: is encrypted"),
        ({"certificate": weak, "key": tmp_path / "weak.key"}, "key too small"),
        ({"ca": REAL / "rtplan.dcm"}, r"receive.tls.ca = .*rtplan\.dcm: is not a PEM file"),
        ({"ca": broken}, r"receive.tls.ca = .*broken\.pem: cannot be used"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            server_context(_settings(own, **changed))
