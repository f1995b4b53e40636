"""The child of `code_runner.py`: gives up what it does not need, then runs the model's code.

In: one JSON job on standard input. Out: a JSON list of results on standard output.
Runs as a script under `python -I`, so it uses the standard library alone. POSIX only.
"""

import contextlib
import io
import json
import os
import resource
import sys

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = ("os.", "socket.", "subprocess.", "shutil.", "ctypes.", "signal.", "pty.")
HARMLESS = ("os.listdir", "os.scandir")  # the import system looks for modules with these


def limit(cpu_s: int, memory_bytes: int) -> None:
    """Sets hard limits: seconds of processor time, bytes of memory and of files written."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS can't limit address space
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def guard(event: str, args: tuple[object, ...]) -> None:
    """An audit hook, which nothing can take off again: reading files is all it leaves."""
    if event == "open":
        flags = args[2]
        if isinstance(flags, int) and flags & WRITING:
            raise PermissionError("this process may not write files")
    elif event.startswith(FORBIDDEN) and event not in HARMLESS:
        raise PermissionError(f"this process may not use {event}")


def main() -> None:
    """Reads the job, runs it, prints the results and nothing else."""
    job = json.load(sys.stdin)
    limit(job["cpu_s"], job["memory_bytes"])
    sys.addaudithook(guard)
    with contextlib.redirect_stdout(io.StringIO()):  # what the code prints counts as memory
        namespace: dict[str, object] = {"__name__": "answer"}
        exec(compile(job["source"], "answer.py", "exec"), namespace)  # noqa: S102 - the purpose
        function = namespace[job["function"]]
        assert callable(function)
        results = json.dumps([function(*args) for args in job["calls"]])
    print(results)


if __name__ == "__main__":
    main()
