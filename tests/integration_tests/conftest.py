"""What all integration tests share."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_implicit_loop() -> None:
    """LlamaIndex's sync methods ask for a current event loop; one made for them is never closed."""
    asyncio.set_event_loop(None)
