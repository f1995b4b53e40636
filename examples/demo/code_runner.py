"""Runs code that a model wrote, in a process of its own with limits: source in, results out.

Only `RUN_CODE=1` leads here. The limits of `code_child.py` stop mistakes (endless loops, memory,
files, sockets, other processes). They are no sandbox against an attacker.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("code_child.py")
CPU_S = 2  # seconds of processor time
MEMORY_BYTES = 256 << 20
WALL_S = 10.0  # seconds on the clock; more than CPU_S, since the process may have to wait


def run_cases(source: str, function: str, calls: Sequence[Sequence[Any]]) -> list[Any] | None:
    """Defines a function and calls it once for each entry of `calls`.

    Args:
        source: Python that defines the function.
        function: Its name.
        calls: The arguments of each call, as plain JSON values.

    Returns:
        The results as JSON values (a tuple comes back as a list), or None if anything failed
        or took too long.
    """
    job = {
        "source": source,
        "function": function,
        "calls": calls,
        "cpu_s": CPU_S,
        "memory_bytes": MEMORY_BYTES,
    }
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-B", str(CHILD)],
                input=json.dumps(job),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=empty,
                env={},
                timeout=WALL_S,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        return None
    results: list[Any] = json.loads(done.stdout)
    return results
