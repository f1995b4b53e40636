"""A local model as an OpenAI-compatible endpoint on loopback: a GGUF file in, an address out."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT_WINDOW = 2048  # tokens; each prompt of the demo, with its answer, needs under 500


class ServerError(Exception):
    """The model server did not start; the message ends with what it last said."""


@dataclass(frozen=True)
class Endpoint:
    """Where a served model answers.

    Attributes:
        url: Base address for OpenAI-compatible clients, ending in `/v1`.
        model: The name to ask for.
        pid: The process that computes.
        key: The key that this server demands, new for each run.
    """

    url: str
    model: str
    pid: int
    key: str = field(repr=False)


def default_threads() -> int:
    """Threads for llama.cpp: all cores but one, and 1 in continuous integration.

    Its threads wait by spinning. Where they outnumber the cores that are really free, tokens
    come many times slower, not a little slower.
    """
    if os.environ.get("CI"):
        return 1
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS or Windows
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores - 1)


@contextmanager
def serve(
    model: Path, threads: int, startup_s: float = 120.0, *, tools: bool = False
) -> Iterator[Endpoint]:
    """Serves a GGUF file from a process of its own for as long as the context lasts.

    Args:
        model: The file.
        threads: How many threads compute.
        startup_s: Seconds that loading may take.
        tools: Read tool calls out of what it says, by `tools.jinja` in place of the model's own
            template, and tell at `/metrics` how many tokens it has read and written.

    Raises:
        ServerError: The process ended, or was silent for `startup_s`.
    """
    key = secrets.token_urlsafe(24)
    setup = {
        "model": str(model),
        "key": key,
        "threads": threads,
        "context_window": CONTEXT_WINDOW,
        "tools": tools,
    }
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("serve_gguf.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo, which then closes the pipe
        )
        try:
            url = _start(process, setup, startup_s)
            if url is None:
                log.seek(0)
                raise ServerError(f"{model.name} is not served: {log.read()[-500:].strip()}")
            yield Endpoint(url=f"{url}/v1", model=model.stem, pid=process.pid, key=key)
        finally:
            _stop(process)


def _start(
    process: "subprocess.Popen[str]", setup: dict[str, object], startup_s: float
) -> str | None:
    assert process.stdin
    assert process.stdout
    watchdog = threading.Timer(startup_s, process.kill)
    watchdog.start()
    try:
        process.stdin.write(json.dumps(setup) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        return None
    finally:
        watchdog.cancel()
    return json.loads(line)["url"] if line else None


def _stop(process: "subprocess.Popen[str]") -> None:
    try:
        process.communicate(timeout=5)  # closes its standard input, which ends it
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
