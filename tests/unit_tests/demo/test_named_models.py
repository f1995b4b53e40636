"""A model that the user names is asked for before anything is downloaded."""

from __future__ import annotations

import io
import urllib.error
import urllib.request

import pytest

from examples.demo.clients import ClientError, named
from examples.demo.options import NamedModel

OFFER = b'{"object": "list", "data": [{"id": "qwen3:4b"}, {"id": "gemma:latest"}]}'


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(OFFER))


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("name", ["qwen3:4b", "gemma"])
def test_what_ollama_has_is_used_and_is_local(name: str) -> None:
    assert named(NamedModel("ollama", name)).local


@pytest.mark.usefixtures("ollama")
def test_what_ollama_lacks_is_refused_with_the_command_that_gets_it() -> None:
    with pytest.raises(ClientError, match="ollama pull qwen3:8b"):
        named(NamedModel("ollama", "qwen3:8b"))


def test_no_ollama_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("refused")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(ClientError, match="start it"):
        named(NamedModel("ollama", "qwen3:4b"))
