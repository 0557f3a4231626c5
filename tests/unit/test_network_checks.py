"""What ``ainode check`` says about the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.config import Config
from node.hosts import HostNames
from node.network_checks import Remark, remarks
from tests.tools.certificates import Authority, Issued

PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.1", "port": 104}
VIEWER = {"ae_title": "VIEWER", "host": "viewer.invalid", "port": 104}
NAMED = ({"ae_title": "CT1"},)


def nothing_known(name: str) -> Any:
    raise OSError("Name or service not known")


def said(host: str = "10.0.0.9", allowed: tuple[dict[str, Any], ...] = NAMED, *, peers: tuple[dict[str, Any], ...] = (),
         destinations: tuple[dict[str, Any], ...] = (), **receive: Any) -> list[Remark]:
    config = Config(
        node={"host": host}, receive={"allowed_peers": allowed, **receive}, destinations=destinations, peers=peers)
    return list(remarks(config, HostNames(nothing_known)))


def test_the_shipped_configuration_has_nothing_to_remark() -> None:
    assert list(remarks(Config())) == []


@pytest.mark.parametrize(
    ("settings", "setting", "words"),
    [
        ({"allowed": ({},)}, "receive.allowed_peers", "anybody"),
        ({"max_associations_per_peer": 50}, "receive.max_associations_per_peer", "not below receive.max_associations"),
        ({"allowed": ({"max_associations": 60, "host": "10.0.0.2"},)}, "receive.allowed_peers[0].max_associations",
         "60 is not below"),
        ({"min_free_disk_mb": 10, "low_disk_mb": 5}, "receive.low_disk_mb", "5 is below"),
        ({"allowed": ({"ae_title": "CT1"}, {"ae_title": "ct1"})},
         "receive.allowed_peers[0].ae_title, receive.allowed_peers[1].ae_title", "CT1 and ct1 are different"),
        ({"host": "127.0.0.1", "destinations": ({**PACS, "storage_commitment": True},)}, "node.host", "pacs cannot"),
        ({"host": "127.0.0.1", "destinations": (PACS,), "allowed": (), "storage_commitment": {"archive": "pacs"}},
         "node.host", "pacs cannot"),
        ({"destinations": (PACS,), "storage_commitment": {"archive": "pacs"}}, "receive.storage_commitment",
         "CT1 is not in peers"),
    ],
    ids=str,
)
def test_a_doubt_is_a_warning(settings: dict[str, Any], setting: str, words: str) -> None:
    remark, = said(**settings)
    assert (remark.setting, remark.problem) == (setting, False)
    assert words in remark.text


@pytest.mark.parametrize(
    ("settings", "setting", "words"),
    [
        ({"allowed": ({"ae_title": "CT1 "},)}, "receive.allowed_peers[0].ae_title", "blanks"),
        ({"allowed": ({"host": "ct1.invalid"},)}, "receive.allowed_peers[0].host", "ct1.invalid cannot be resolved"),
        ({"peers": (VIEWER,)}, "peers[0].host", "viewer.invalid cannot be resolved"),
        ({"allowed": ({"ae_title": "CT1", "certificate": "ct1"},)}, "receive.allowed_peers[0].certificate", "nobody"),
        ({"tls": {"port": 2762}}, "receive.tls", "needs receive.tls.certificate"),
    ],
    ids=str,
)
def test_what_cannot_work_is_a_problem(settings: dict[str, Any], setting: str, words: str) -> None:
    remark, = said(**settings)
    assert (remark.setting, remark.problem) == (setting, True)
    assert words in remark.text


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


def of_tls(own: Issued, **changed: Any) -> list[tuple[str, bool, str]]:
    tls = {"port": 2762, "certificate": own.certificate, "key": own.key, "ca": own.ca, **changed}
    return [(remark.setting, remark.problem, remark.text) for remark in said("node.example", tls=tls)]


def test_a_certificate_in_order_has_nothing_to_remark(authority: Authority) -> None:
    assert of_tls(authority.issue("node", alternatives="DNS:node.example")) == []


def test_the_end_of_a_certificate_is_told(authority: Authority) -> None:
    (setting, problem, text), = of_tls(authority.issue("node.example", days=20))
    assert (setting, problem) == ("receive.tls.certificate", False)
    assert text.endswith("in 19 days; renew it")
    assert of_tls(authority.issue("node.example", days=20), expiry_warning_days=5) == []
    (setting, problem, text), = of_tls(authority.expired("node.example"))
    assert (setting, problem) == ("receive.tls.certificate", True)
    assert text.startswith("expired on 2025-01-01")


def test_an_expired_authority_is_told(authority: Authority) -> None:
    own = authority.issue("node.example")
    (setting, problem, text), = of_tls(own, ca=authority.expired_authority())
    assert (setting, problem) == ("receive.tls.ca", True)
    assert text.startswith("Old CA expired")


def test_doubts_about_tls_are_told(authority: Authority) -> None:
    other = authority.issue("other.example", alternatives="IP:10.0.0.7")
    named, = of_tls(other)
    assert "bears other.example, 10.0.0.7, not node.host = node.example" in named[2]
    anonymous, = of_tls(authority.issue("node.example"), ca=None)
    assert anonymous[:2] == ("receive.tls.ca", False)


def test_a_binding_that_another_entry_goes_round_is_told(authority: Authority) -> None:
    own = authority.issue("node.example")
    tls = {"port": 2762, "certificate": own.certificate, "key": own.key, "ca": own.ca}
    bound = {"ae_title": "CT1", "certificate": "ct1.example"}
    assert said("node.example", (bound,), tls=tls) == []
    remark, = said("node.example", (bound, {"ae_title": "*", "host": "10.0.0.0/8"}), tls=tls)
    assert remark.text == "receive.allowed_peers[1] lets CT1 in without this certificate"


def test_a_key_of_another_certificate_is_a_problem(authority: Authority, tmp_path: Path) -> None:
    own, other = authority.issue("node.example"), authority.issue("other.example")
    (_, problem, text), = of_tls(own, key=other.key)
    assert problem
    assert "do not belong together" in text
