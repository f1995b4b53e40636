"""Spans that are kept in memory, for as long as a test runs.

A process has one global tracer provider, which can be set once: it is made here, and each test
empties what it has collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import pytest

trace = pytest.importorskip("opentelemetry.trace")
pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)


@cache
def _exporter() -> InMemorySpanExporter:
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


class Spans:
    """The spans that end while its `with` block runs."""

    def __enter__(self) -> Self:
        _exporter().clear()
        return self

    def __exit__(self, *_: object) -> None:
        _exporter().clear()

    @contextmanager
    def outer(self) -> Iterator[Any]:
        """A span of the caller's own, current while the block runs."""
        with trace.get_tracer("caller").start_as_current_span("outer") as span:
            yield span

    def routed(self) -> list[ReadableSpan]:
        """Those that a router made, in the order in which they ended."""
        ended = _exporter().get_finished_spans()
        return [s for s in ended if s.instrumentation_scope.name == "router-llm-plugin"]
