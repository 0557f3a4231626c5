"""An HTTP server that takes and gives JSON: time limits, tries, and foreign errors mapped into the node's own.

Nothing of a request or an answer is ever logged or part of a message but the server's own words on a refusal,
cut short. The environment is not consulted: no proxy, no ``.netrc``.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from node.domain import JSON
from node.errors import ConfigurationError, ModelServerError, ModelServerRefused
from node.inference.api_key import ApiKey
from node.inference.circuit_breaker import CircuitBreaker

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses of which a later try may make another (RFC 9110)."""
REDIRECTS = range(300, 400)
LONGEST_ANSWER = 4 << 20
"""Bytes; a reply of 8192 tokens with their likelihoods has less than a tenth."""
LONGEST_WORDS = 200
ECHOED = re.compile(r"\binput|data:|[\[{]")
"""From here on a validation error tends to repeat what it was given."""
CONNECT_SECONDS = 5.0
FAILURES, OPEN_SECONDS = 5, 30.0
LONGEST_PAUSE = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long one try may take in all, how many tries there are, and the seconds before the second; then doubled."""

    seconds: float
    tries: int
    first_pause: float = 1.0


class ModelServer:
    """A server under one URL. Thread-safe; every request is a try or several, bounded in time and size."""

    def __init__(
        self, url: str, patience: Patience, key: ApiKey, ca: Path | None = None, *,
        clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises ConfigurationError: ``ca`` is no file of PEM certificates."""
        self.url = url.rstrip("/")
        self._patience, self._clock, self._pause = patience, clock, pause
        self._breaker = CircuitBreaker(FAILURES, OPEN_SECONDS, clock)
        self._client = httpx2.Client(
            headers=key.headers, verify=_trust(ca), trust_env=False, follow_redirects=False,
            timeout=httpx2.Timeout(patience.seconds, connect=min(CONNECT_SECONDS, patience.seconds)))

    def post(self, path: str, body: JSON) -> JSON:
        """The JSON object that the server answers.

        Raises:
            ModelServerRefused: it never will.
            ModelServerError: it did not, in every try.
        """
        content = json.dumps(body, separators=(",", ":")).encode()
        for left in reversed(range(self._patience.tries)):
            try:
                return self._guarded(path, content)
            except ModelServerError as error:
                if not error.retryable or not left or self._breaker.is_open:
                    raise
                pause = min(self._patience.first_pause * 2 ** (self._patience.tries - 1 - left), LONGEST_PAUSE)
                log.warning("asked again in %.0f s: %s", pause, error, extra={"action": "model_server.retry"})
                self._pause(pause)
        raise AssertionError("a loop without a try")

    def close(self) -> None:
        """Give back its connections."""
        self._client.close()

    def _guarded(self, path: str, content: bytes) -> JSON:
        if wait := self._breaker.closed_in():
            raise ModelServerError(f"{self.url}: failed {FAILURES} times in a row; left alone for {wait:.0f} s more")
        try:
            answer = self._once(path, content)
        except ModelServerRefused:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return answer

    def _once(self, path: str, content: bytes) -> JSON:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            with self._client.stream("POST", self.url + path, content=content, headers=headers) as response:
                body = self._body(response)
        except httpx2.TimeoutException as error:
            raise ModelServerError(f"{self.url}: no answer within {self._patience.seconds:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise ModelServerError(f"{self.url}: {type(error).__name__}; is the model server running?") from error
        if response.status_code != 200:
            raise _refusal(self.url, response.status_code, body)
        return self._json(body)

    def _body(self, response: httpx2.Response) -> bytes:
        """All of it, unless it takes too long or is too long: a server may drip for ever."""
        until, body = self._clock() + self._patience.seconds, bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > LONGEST_ANSWER:
                raise ModelServerError(f"{self.url}: its answer is longer than {LONGEST_ANSWER} bytes")
            if self._clock() > until:
                raise ModelServerError(f"{self.url}: no whole answer within {self._patience.seconds:g} s")
        return bytes(body)

    def _json(self, body: bytes) -> JSON:
        try:
            answer: Any = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ModelServerError(f"{self.url}: its answer is no JSON; is it a model server?") from error
        if not isinstance(answer, dict):
            raise ModelServerError(f"{self.url}: its answer is no JSON object; is it a model server?")
        return answer


def _refusal(url: str, status: int, body: bytes) -> ModelServerError:
    if status in PASSING:
        return ModelServerError(f"{url}: HTTP {status}: {_words(body)}")
    if status in REDIRECTS:
        return ModelServerRefused(f"{url}: HTTP {status}: it sends elsewhere, which is never followed; set the URL "
                                  "that answers")
    return ModelServerRefused(f"{url}: HTTP {status}: {_words(body)}")


def _words(body: bytes) -> str:
    """What the server says is wrong, on one line, printable; not what it repeats of the request."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "no words"
    while isinstance(told, dict):
        told = next((told[key] for key in ("error", "message", "detail") if key in told), "")
    text = ECHOED.split(told, 1)[0] if isinstance(told, str) else ""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return plain[:LONGEST_WORDS] or "no words"


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"models.findings.server.ca = {ca}: holds no PEM certificates ({error})") from error
