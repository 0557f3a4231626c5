"""The key of a model server: from a file or an environment variable, never from the configuration itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.config import ModelServer
from node.errors import ConfigurationError

_WHERE = "models.findings.server"


@dataclass(frozen=True)
class ApiKey:
    """A secret that shows itself to nobody; empty where the server asks for none."""

    secret: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}


def api_key(server: ModelServer, environment: Mapping[str, str]) -> ApiKey:
    """The key that ``server`` names. Read once, when a process starts.

    Raises:
        ConfigurationError: the file or variable is not there, or holds no key. The key is never in the message.
    """
    if server.api_key_file is not None:
        where, found = f"{_WHERE}.api_key_file = {server.api_key_file}", _content(server)
    elif server.api_key_env:
        where, found = f"{_WHERE}.api_key_env = {server.api_key_env}", environment.get(server.api_key_env, "")
    else:
        return ApiKey()
    secret = found.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError(f"{where}: holds no key; expected one line of printable ASCII characters")
    return ApiKey(secret)


def _content(server: ModelServer) -> str:
    assert server.api_key_file is not None
    try:
        return server.api_key_file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{_WHERE}.api_key_file = {server.api_key_file}: cannot be read "
                                 f"({error.strerror})") from error
