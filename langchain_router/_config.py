"""The caller's config: the router's own callbacks merged in, and who is calling read out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs

from shared_core.scope import current_scope
from shared_core.types import Constraint, Scope

__all__ = ["configs_of", "own_config", "scope_of"]


def own_config(model: BaseChatModel, config: RunnableConfig | None) -> RunnableConfig:
    """Return the config with the model's own callbacks, tags and metadata added."""
    own: dict[str, Any] = {}
    if model.callbacks:
        own["callbacks"] = model.callbacks
    if model.tags:
        own["tags"] = model.tags
    if metadata := {k: v for k, v in (model.metadata or {}).items() if k != "lc_versions"}:
        own["metadata"] = metadata
    config = ensure_config(config)
    return merge_configs(cast("RunnableConfig", own), config) if own else config


def scope_of(
    config: RunnableConfig, subject_to: Sequence[Constraint] = (), step: str | None = None
) -> Scope:
    """Return who is calling: `configurable` inside whatever `call_scope` holds here.

    Args:
        config: Its `configurable` may have `thread` (or LangGraph's `thread_id`), `user`, `tenant`,
            `run`, `step` and `pin`.
        subject_to: Constraints of this call.
        step: The router's own, where the config has none; after it come that of `call_scope`, and
            LangGraph's node.

    Raises:
        ConfigurationError: A key is empty, or a constraint is no function.
    """
    outer, given = current_scope(), config.get("configurable") or {}
    node = (config.get("metadata") or {}).get("langgraph_node")
    if not given and subject_to == () and node is None and step is None:
        return outer
    thread = given.get("thread", given.get("thread_id"))
    inner = Scope(
        thread=_text(thread),
        user=_text(given.get("user")),
        tenant=_text(given.get("tenant")),
        run=_text(given.get("run", _run_of(given))),
        step=_text(given.get("step", step or outer.step or node)),
        pin=given.get("pin"),
        subject_to=subject_to,
    )
    return inner.within(outer)


def _run_of(configurable: Mapping[str, Any]) -> Any:
    """Return the run's id where LangGraph's server has given it one."""
    runtime = configurable.get("__pregel_runtime")
    return getattr(getattr(runtime, "execution_info", None), "run_id", None)


def _text(key: Any) -> str | None:
    """Return a key as text: LangGraph takes numbers and UUIDs as thread ids too."""
    return str(key) if isinstance(key, (int, uuid.UUID)) else key


def configs_of(
    count: int,
    callbacks: Callbacks,
    tags: list[str] | None,
    metadata: Mapping[str, Any] | None,
    run_name: str | None,
    run_id: uuid.UUID | None,
) -> list[RunnableConfig]:
    """Return a config for each of several calls; a run's id can only be the first one's."""
    given = {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name}
    shared = {k: v for k, v in given.items() if v is not None}
    configs = [cast("RunnableConfig", dict(shared)) for _ in range(count)]
    if configs and run_id is not None:
        configs[0]["run_id"] = run_id
    return configs
