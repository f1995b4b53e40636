"""A loopback server that speaks OpenAI's API, so that real provider clients run in tests.

In: HTTP requests on 127.0.0.1 (`/v1/chat/completions`, `/v1/completions`, `/v1/models`), as JSON or
as a server-sent stream. Out: the deterministic answers of `replies` in the shapes of `openai_wire`,
faults on demand, and a record of every request body.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal, Self

from tests.fakes.openai_wire import Body, Chat, Completion, Voice, refusal
from tests.fakes.replies import Scripted


@dataclass(frozen=True)
class Fault:
    """How one request goes wrong.

    Attributes:
        kind: "slow": only the delays; "status": an HTTP error; "reset": TCP reset; "hang": silence
            until the client or the server leaves; "malformed": broken JSON; "cut": the connection
            closes in the middle of the body; "end": a stream ends in good order, but too early;
            "empty": a body without a byte; "choiceless": an answer without a choice in it, which
            in a stream is the same as "end".
        after: Stream events sent before the fault (the first event carries the role alone).
        status: HTTP status of kind "status".
        code: Error code, e.g. "context_length_exceeded".
        message: Error message.
        retry_after: Value of the Retry-After header, sent as it is.
        first_s: Seconds of silence before the first byte, for every kind.
        between_s: Seconds between stream events, for every kind.
    """

    kind: Literal[
        "slow", "status", "reset", "hang", "malformed", "cut", "end", "empty", "choiceless"
    ]
    after: int = 0
    status: int = 500
    code: str | None = None
    message: str = "scripted fault"
    retry_after: str | None = None
    first_s: float = 0.0
    between_s: float = 0.0


_NO_FAULT = Fault("slow")


class OpenAIServer:
    """Serves fake OpenAI models while its `with` block runs.

    Every model name is served. On leaving the block all threads have ended, and an error in the
    server's own code is raised there instead of passing for a network fault.

    Attributes:
        models: The names that `/v1/models` lists.
        abandoned: Requests whose client left before the answer was complete.
    """

    def __init__(self, models: Iterable[str] = ("small", "large")) -> None:
        self.models = tuple(models)
        self.stopping = threading.Event()
        self.letting_go = threading.Event()
        self.errors: list[BaseException] = []
        self.abandoned = 0
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._requests: list[Body] = []
        self._faults: dict[str, Iterator[Fault | None]] = {}
        self._voices: dict[str, Voice] = {}

    def __enter__(self) -> Self:
        self._http = _HTTPServer(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        if self.errors:
            raise self.errors[0]

    @property
    def base_url(self) -> str:
        """The URL that clients take as `base_url` or `api_base`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[Body]:
        """The request bodies so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    def asked(self, model: str) -> list[Body]:
        """The request bodies that one model got."""
        return [body for body in self.requests if body.get("model") == model]

    def say(self, model: str, scripted: Scripted | None = None, *, logprob: float = -0.1) -> None:
        """Sets what a model answers from now on; `scripted=None` is the default answer."""
        with self._lock:
            known = self._voices.get(model, Voice())
            self._voices[model] = replace(known, scripted=scripted, logprob=logprob)

    def report(self, model: str, usage: Any) -> None:
        """Sets the usage that a model reports from now on, whatever it is; None is none at all."""
        with self._lock:
            self._voices[model] = replace(self._voices.get(model, Voice()), usage=usage)

    def script(self, model: str, faults: Iterable[Fault | None]) -> None:
        """Sets the faults of a model's next requests, one each; None is a request that goes well.

        When they are used up all goes well; `itertools.repeat(fault)` never ends.
        """
        with self._lock:
            self._faults[model] = iter(faults)

    def reset(self) -> None:
        """Forgets requests, faults and voices, so that tests can share one server.

        langchain-openai keeps its HTTP clients by URL, and to make one takes a tenth of a second.
        """
        self.letting_go.clear()
        with self._lock:
            self.abandoned = 0
            for memory in (self._requests, self._faults, self._voices):
                memory.clear()

    def let_go(self) -> None:
        """Ends all waits until the next `reset`: requests that hang come to their end."""
        self.letting_go.set()

    def received(self, body: Body) -> tuple[int, Voice, Fault]:
        """Records a request; returns its number and what shall come of it."""
        model = body.get("model", "")
        with self._lock:
            self._requests.append(body)
            fault = next(self._faults.get(model, iter(())), None)
            voice = self._voices.get(model, Voice())
            return next(self._numbers), voice, fault or _NO_FAULT

    def client_left(self) -> None:
        """Counts a request whose client went away before the answer was complete."""
        with self._lock:
            self.abandoned += 1


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 1024

    def __init__(self, owner: OpenAIServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.owner = owner
        self.idle: set[socket.socket] = set()

    def hang_up(self) -> None:
        """Ends connections on which no request has come."""
        for connection in list(self.idle):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error and not isinstance(error, ConnectionError):
            self.owner.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: _HTTPServer

    def setup(self) -> None:
        super().setup()
        self.server.idle.add(self.connection)

    def parse_request(self) -> bool:
        self.server.idle.discard(self.connection)
        return super().parse_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the test output clean."""

    def do_GET(self) -> None:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "tests"}
            for name in self.server.owner.models
        ]
        self._send_json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # the client left in the middle of its request
            self.close_connection = True
            return
        body = json.loads(sent)
        number, voice, fault = self.server.owner.received(body)
        try:
            self._wait(fault.first_s)
            self._answer(body, number, voice, fault)
        except ConnectionError:
            self.server.owner.client_left()
            self.close_connection = True

    def _answer(self, body: Body, number: int, voice: Voice, fault: Fault) -> None:
        reply_type = {"/v1/chat/completions": Chat, "/v1/completions": Completion}.get(self.path)
        if reply_type is None:
            return self._send_error_json(404, f"no such path: {self.path}", "not_found")
        if fault.kind == "status":
            return self._send_error_json(fault.status, fault.message, fault.code, fault.retry_after)
        if why := refusal(body):
            return self._send_error_json(400, why, "invalid_request")
        reply = reply_type(body, number, voice)
        if body.get("stream"):
            return self._send_stream(reply.events(), fault)
        if fault.kind in ("reset", "hang"):
            return self._strike(fault)
        content = reply.whole() | ({"choices": []} if fault.kind == "choiceless" else {})
        return self._send_json(200, content, fault=fault)

    def _send_error_json(
        self, status: int, message: str, code: str | None, retry_after: str | None = None
    ) -> None:
        error = {"message": message, "type": code or "error", "param": None, "code": code}
        self._send_json(status, {"error": error}, retry_after)

    def _send_json(
        self, status: int, content: Body, retry_after: str | None = None, fault: Fault = _NO_FAULT
    ) -> None:
        data = b"" if fault.kind == "empty" else json.dumps(content).encode()
        half = data[: len(data) // 2]
        headers = {"Retry-After": retry_after} if retry_after else {}
        sent = half if fault.kind in ("malformed", "cut") else data
        declared = sent if fault.kind == "malformed" else data
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(declared))}
        self._send_head(status, headers)
        self.wfile.write(sent)

    def _send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_stream(self, events: list[Body], fault: Fault) -> None:
        faulty = fault.kind != "slow" and fault.after < len(events)
        if fault.after or fault.kind not in ("reset", "hang"):
            head = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
            self._send_head(200, head)
        for index, event in enumerate(events[: fault.after] if faulty else events):
            self._wait(fault.between_s if index else 0.0)
            self._send_chunk(f"data: {json.dumps(event)}\n\n")
        if faulty:
            self._strike(fault)
        else:
            self._send_chunk("data: [DONE]\n\n")
            self._send_chunk("")

    def _send_chunk(self, text: str) -> None:
        """Sends one chunk of a chunked body; an empty one ends it."""
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _strike(self, fault: Fault) -> None:
        """Does the harm of a fault at this point of the answer."""
        self.close_connection = True
        if fault.kind == "hang":
            self._wait(float("inf"))
        elif fault.kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())
        elif fault.kind == "malformed":
            self._send_chunk('data: {"id": "chatcmpl-\n\n')
            self._send_chunk("")
        elif fault.kind in ("end", "empty", "choiceless"):
            self._send_chunk("")

    def _wait(self, seconds: float) -> None:
        """Waits, but not for a client that has left or a server that stops.

        Raises:
            ConnectionAbortedError: The client closed the connection.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._may_go():
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.02))
            if readable:
                raise ConnectionAbortedError("the client left")

    def _may_go(self) -> bool:
        return self.server.owner.stopping.is_set() or self.server.owner.letting_go.is_set()
