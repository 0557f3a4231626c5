"""An OpenAI-compatible server that behaves as badly as a test tells it to. It keeps every request as raw bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]
"""HTTP status and body."""


def completion(text: Any, *, finish: str = "stop", **more: Any) -> Answer:
    """A chat completion that says ``text``; ``more`` goes into its choice."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}, **more}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return 200, json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def refusal(status: int, words: str) -> Answer:
    return status, json.dumps({"error": {"message": words}}).encode()


def logprobs(**likely: float) -> dict[str, Any]:
    """As a choice has them, of first words."""
    top = [{"token": word, "logprob": value} for word, value in likely.items()]
    return {"content": [{"token": next(iter(likely)), "logprob": 0.0, "top_logprobs": top}]}


@dataclass
class ChatServer:
    """What it answers is up to ``answer``, which gets the request's JSON; ``once`` is used up first."""

    answer: Callable[[dict[str, Any]], Answer]
    once: list[Answer] = field(default_factory=list)
    #: Start line, headers and body of every request.
    raw: list[bytes] = field(default_factory=list)
    #: Held back until set.
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The JSON of every request."""
        return [json.loads(one.rpartition(b"\n")[2]) for one in self.raw]


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Answer], *, released: bool = True) -> Iterator[ChatServer]:
    """A server on a free loopback port; with ``released`` False it keeps everybody waiting."""
    chat = ChatServer(answer)
    if released:
        chat.released.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            chat.raw.append(self.raw_requestline + bytes(self.headers) + body)
            chat.released.wait()
            status, content = chat.once.pop(0) if chat.once else chat.answer(json.loads(body))
            self.send_response(status)
            if status in (301, 302, 307, 308):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked may have given up
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
