"""TLS as the node speaks it: what it accepts, its own certificate, and what a peer's says.

The profile is PS3.15 section B.12, which asks for BCP 195: RFC 8996 (nothing before TLS 1.2) and RFC 9325.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from node.config import ReceiveTLS
from node.errors import ConfigurationError

TLS_1_2_SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
)
"""RFC 9325 section 4.2, by OpenSSL's names. TLS 1.3 has none but good ones.

DHE is left out: Python does not choose the group's size, and every client of this profile has ECDHE.
"""

SECURITY_LEVEL = "@SECLEVEL=2"
"""OpenSSL's: no RSA key below 2048 bits and no SHA-1 signature, in our certificate and in a peer's."""

MINIMUM_VERSION = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the standard library has no name for."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says about its owner. ``names`` are its DNS names and common name, ``addresses`` its IPs."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    sha256: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def of_peer(cls, connection: ssl.SSLSocket | ssl.SSLObject) -> Certificate | None:
        """The one at the other end, None unless it was asked for and verified."""
        described, encoded = connection.getpeercert(), connection.getpeercert(binary_form=True)
        if not described or encoded is None:
            return None
        alternatives = [(str(kind), str(value)) for kind, value in _pairs(described.get("subjectAltName"))]
        subject = [pair for relative in _pairs(described.get("subject")) for pair in relative]
        named = [value for kind, value in alternatives if kind == "DNS"]
        common = [value for kind, value in subject if kind == "commonName"]
        return cls(
            names=tuple(dict.fromkeys([*named, *common])),
            addresses=tuple(value for kind, value in alternatives if kind == "IP Address"),
            sha256=hashlib.sha256(encoded).hexdigest(),
            not_before=_moment(described["notBefore"]), not_after=_moment(described["notAfter"]),
        )

    @property
    def name(self) -> str:
        """The one to show."""
        return self.names[0] if self.names else next(iter(self.addresses), "no name")

    def bears(self, name: str) -> bool:
        """Whether ``name`` is literally one of its names; a wildcard stands for itself only."""
        return name.lower() in (one.lower() for one in self.names)

    def is_expired(self, at: datetime) -> bool:
        """Whether nobody should take it any more."""
        return self.not_after <= at

    def expiry_warning(self, at: datetime, days: int) -> str:
        """What there is to say about its end, '' when that is more than ``days`` away."""
        if self.is_expired(at):
            return f"expired on {self.not_after:%Y-%m-%d}; no peer that checks will connect, renew it"
        if self.not_after - at > timedelta(days=days):
            return ""
        return f"expires on {self.not_after:%Y-%m-%d}, in {(self.not_after - at).days} days; renew it"


def server_context(tls: ReceiveTLS) -> ssl.SSLContext:
    """For the TLS port; with ``ca``, only for peers with a certificate of these authorities.

    Raises:
        ConfigurationError: naming the file that is missing or is not what it should be.
    """
    context = _serving(tls)
    context.minimum_version = MINIMUM_VERSION[tls.min_version]
    context.set_ciphers(":".join((*TLS_1_2_SUITES, SECURITY_LEVEL)))
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
    )
    context.num_tickets = 0  # every association shows its certificate anew
    if tls.ca is not None:
        _trust(context, tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def own_certificate(tls: ReceiveTLS) -> Certificate:
    """The node's certificate, expired or not, as a client sees it: by shaking hands with itself in memory.

    Raises:
        ConfigurationError: it cannot be used, or no client could take it.
    """
    server = _serving(tls)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    assert tls.certificate is not None
    client.load_verify_locations(tls.certificate)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    try:
        found = Certificate.of_peer(_shaken(client, server))
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"receive.tls.certificate = {tls.certificate}: no client could take it ({_why(error)})") from error
    assert found is not None
    return found


def authority_expiry(ca: Path) -> list[tuple[str, datetime]]:
    """Every authority of the file by its common name, and when it expires.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _trust(context, ca)
    return [(_common_name(one), _moment(one["notAfter"])) for one in context.get_ca_certs()]


FAILURES = {
    "WRONG_VERSION_NUMBER": "what came is not TLS, plain DICOM perhaps",
    "HTTP_REQUEST": "what came is not TLS but HTTP",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer shows no certificate, which receive.tls.ca asks for",
    "UNSUPPORTED_PROTOCOL": "the peer has no TLS version that receive.tls.min_version allows",
    "NO_SHARED_CIPHER": "the peer has none of the cipher suites of BCP 195",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the authority of the node's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not take the node's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not take the node's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the node's certificate has expired, says the peer",
}
"""Words for what OpenSSL calls the reason."""


def handshake_failure(error: ssl.SSLError) -> str:
    """Why a handshake with a peer failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not taken: {error.verify_message}"
    return FAILURES.get(error.reason or "", _why(error))


def _serving(tls: ReceiveTLS) -> ssl.SSLContext:
    if tls.certificate is None or tls.key is None:
        raise ConfigurationError(f"receive.tls.port = {tls.port}: needs receive.tls.certificate and receive.tls.key")
    _pem("receive.tls.certificate", tls.certificate, "BEGIN CERTIFICATE")
    if "ENCRYPTED" in _pem("receive.tls.key", tls.key, "PRIVATE KEY-----"):
        # OpenSSL would ask for its passphrase at a terminal.
        raise ConfigurationError(f"receive.tls.key = {tls.key}: is encrypted; give it without a passphrase")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    both = f"receive.tls.key = {tls.key} and receive.tls.certificate = {tls.certificate}"
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except ssl.SSLError as error:
        why = "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else _why(error)
        raise ConfigurationError(f"{both}: cannot be used ({why})") from error
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _pem("receive.tls.ca", ca, "BEGIN CERTIFICATE")
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigurationError(f"receive.tls.ca = {ca}: cannot be used ({_why(error)})") from error


def _pem(setting: str, file: Path, mark: str) -> str:
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{setting} = {file}: cannot be read ({error.strerror})") from error
    if mark not in text:
        raise ConfigurationError(f"{setting} = {file}: is not a PEM file with '{mark.strip('-')}' in it")
    return text


def _shaken(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The client's end after a handshake of both in memory. Raises SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    waiting = set(ends)
    while ends[0] in waiting:
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.discard(end)
    return ends[0]


def _why(error: ssl.SSLError) -> str:
    told = getattr(error, "verify_message", "") or error.reason or str(error)
    return str(told).lower().replace("_", " ")


def _pairs(value: Any) -> tuple[Any, ...]:
    """Part of what ``getpeercert`` describes: its types are as loose as X.509 is."""
    return tuple(value or ())


def _common_name(described: Any) -> str:
    parts = [pair for relative in _pairs(described.get("subject")) for pair in relative]
    return str(dict(parts).get("commonName", parts))


def _moment(text: Any) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)
