"""The child process behind `server.py`: serves one GGUF file until its standard input closes.

In: one line of JSON, `{"model", "key", "threads", "context_window", "tools"}`, on standard input,
where no other process can read the key. Out: one line of JSON, `{"url"}`, once the model is loaded.
The parent never has to kill it: however the parent ends, the pipe closes, and this ends too.
"""

import json
import sys
from pathlib import Path

import xllamacpp


def parameters(
    model: str, key: str, threads: int, context_window: int, tools: bool
) -> xllamacpp.CommonParams:
    """The settings of llama.cpp: one caller at a time, loopback only, no cached prompts.

    A prompt is sent several times in this demo; reading it from a cache the second time would
    make whoever asks later look faster.
    """
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context_window
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # any free one
    params.api_keys = [key]
    params.ui = False
    params.endpoint_metrics = tools
    if tools:
        params.chat_template = Path(__file__).with_name("tools.jinja").read_text(encoding="utf-8")
    params.endpoint_slots = False
    params.verbosity = 1  # errors
    return params


def main() -> None:
    """Serves until standard input ends."""
    server = xllamacpp.Server(parameters(**json.loads(sys.stdin.readline())))
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
