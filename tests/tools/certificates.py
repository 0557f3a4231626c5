"""A certificate authority of the tests, by the openssl commands of docs/network.md."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
PAST = ("-startdate", "20240101000000Z", "-enddate", "20250101000000Z")
AUTHORITY_SETTINGS = """
[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the authority that signed it: PEM files."""

    certificate: Path
    key: Path
    ca: Path

    def client(self, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """For a client that shows this certificate and trusts its authority."""
        context = trusting(self.ca)
        context.maximum_version = maximum
        context.load_cert_chain(self.certificate, self.key)
        return context


def trusting(ca: Path) -> ssl.SSLContext:
    """For an anonymous client that trusts ``ca`` and does not look at names."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    return context


class Authority:
    """Signs what it is asked to, into ``folder``, under a ``name`` of its own."""

    def __init__(self, folder: Path, name: str = "Imaging CA") -> None:
        self._folder = folder
        self._key, self.certificate = folder / "ca.key", folder / "ca.pem"
        folder.mkdir(parents=True)
        _openssl(
            "req", "-x509", *KEY, "-days", "3650", "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self._key, "-out", self.certificate)

    def issue(self, name: str, *, alternatives: str = "", days: int = 365, extension: str = "") -> Issued:
        """A certificate with ``name`` as its common name, and subject alternative names such as ``DNS:ct1``."""
        issued, request = self._requested(name, alternatives, extension)
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", str(days), "-copy_extensions", "copy", "-out", issued.certificate)
        return issued

    def expired(self, name: str, extension: str = "") -> Issued:
        """One that ended with the year 2024."""
        issued, request = self._requested(name, "", extension)
        settings = self._folder / "ca.cnf"
        settings.write_text(AUTHORITY_SETTINGS.format(folder=self._folder))
        (self._folder / "index.txt").write_text("")
        _openssl(
            "ca", "-batch", "-config", settings, "-cert", self.certificate, "-keyfile", self._key, *PAST, "-notext",
            "-in", request, "-out", issued.certificate)
        return issued

    def expired_authority(self) -> Path:
        """The certificate of an authority below this one that ended with the year 2024."""
        return self.expired("Old CA", "basicConstraints=critical,CA:TRUE").certificate

    def _requested(self, name: str, alternatives: str, extension: str) -> tuple[Issued, Path]:
        own = self._folder / name
        issued, request = Issued(own.with_suffix(".pem"), own.with_suffix(".key"), self.certificate), f"{own}.csr"
        wanted = [f"subjectAltName={alternatives}"] * bool(alternatives) + [extension] * bool(extension)
        more = [word for one in wanted for word in ("-addext", one)]
        _openssl("req", "-new", *KEY, "-subj", f"/CN={name}", *more, "-keyout", issued.key, "-out", request)
        return issued, Path(request)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
