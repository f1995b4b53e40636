"""Many callers against one budget: how many get in, and how many there was room for.

Run `python -m examples.benchmarks.budget_race`; needs `[langchain]`, and for the rows of Redis
`[redis]` and a `redis-server` on the PATH, which is started on a free port of this machine. Callers
are 1,000 coroutines, 64 threads and 8 processes of 8 threads, all let go at once on a `ChatRouter`
whose one model answers at once with known usage. The budget has room for 50 calls: by number
(`calls`), and in USD, at what is held for a call and at what it costs in the end.

"Killed": a process holds the last room and is killed with SIGKILL before it settles; measured is
when the room is back, which was held for `--hold` seconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from examples.benchmarks import _page
from langchain_router import Budget, Budgets, Candidate, ChatRouter
from langchain_router._messages import read_prompt
from shared_core.accounting.budgets.bounds import most_input
from shared_core.accounting.budgets.stores import Amounts, Line, open_store
from shared_core.errors import BudgetExceededError

ROOM = 50
QUESTION = "x" * 900
TOKENS = (most_input(read_prompt([HumanMessage(QUESTION)]), bytes_per_token=1), 100)  # just as held
PRICE = (10.0, 10.0)  # USD per million
COST = sum(TOKENS) * 10e-6


class Answers(BaseChatModel):
    """Answers at once, and reports the usage that its price is for."""

    max_tokens: int = TOKENS[1]

    @property
    def _llm_type(self) -> str:
        return "answers"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        read, written = TOKENS
        usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
        message = AIMessage("Yes.", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


def router(budget: Budget, place: str | None) -> ChatRouter:
    """Return a router over one model, under one budget."""
    candidate = Candidate("only", Answers(), price=PRICE)
    return ChatRouter([candidate], budgets=Budgets(budget, store=place), max_retries=0)


def by_coroutines(budget: Budget, place: str | None, count: int = 1000) -> int:
    """Return how many of so many coroutines get an answer."""
    llm = router(budget, place)

    async def one() -> bool:
        try:
            await llm.ainvoke(QUESTION)
        except BudgetExceededError:
            return False
        return True

    async def all_at_once() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(count))))

    return asyncio.run(all_at_once())


def by_threads(budget: Budget, place: str | None, count: int = 64, each: int = 8) -> int:
    """Return how many calls of so many threads get an answer."""
    llm, start = router(budget, place), threading.Barrier(count)

    def some(_: int) -> int:
        start.wait()
        answered = 0
        for _ in range(each):
            try:
                llm.invoke(QUESTION)
            except BudgetExceededError:
                continue
            answered += 1
        return answered

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(some, range(count)))


def by_processes(budget: Budget, place: str | None, count: int = 8) -> int:
    """Return how many calls of so many processes, with 8 threads each, get an answer."""
    context = multiprocessing.get_context("spawn")
    start, answered = context.Barrier(count), context.SimpleQueue()
    work = (budget, place, start, answered)
    processes = [context.Process(target=_one_process, args=work) for _ in range(count)]
    for process in processes:
        process.start()
    admitted = sum(answered.get() for _ in processes)
    for process in processes:
        process.join()
    return admitted


def _one_process(budget: Budget, place: str | None, start: Any, answered: Any) -> None:
    start.wait()
    answered.put(by_threads(budget, place, 8, 8))


CALLERS: dict[str, Callable[[Budget, str | None], int]] = {
    "1,000 coroutines": by_coroutines,
    "64 threads": by_threads,
    "8 processes": by_processes,
}


def race(place: Callable[[], str | None], processes: bool) -> dict[str, Any]:
    """Return what every kind of caller does with each kind of budget."""
    budgets = {
        "calls": Budget(calls=ROOM, per="day"),
        "usd": Budget(usd=ROOM * COST, per="day"),
    }
    found: dict[str, Any] = {}
    for kind, budget in budgets.items():
        for callers, run in CALLERS.items():
            if callers == "8 processes" and not processes:
                continue
            started = time.perf_counter()
            admitted = run(budget, place())
            seconds = time.perf_counter() - started
            found[f"{callers}, {kind}"] = {
                "room": ROOM,
                "admitted": admitted,
                "overshoot": max(0, admitted - ROOM),
                "seconds": round(seconds, 2),
            }
    return found


def killed(place: str, hold_s: float) -> dict[str, float]:
    """Return the seconds after which the room of a killed process is free again."""
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(place, hold_s))
    process.start()
    store = open_store(place)
    while not store.standings(["race"])[0].held.calls:
        time.sleep(0.01)
    os.kill(int(process.pid or 0), signal.SIGKILL)
    process.join()
    started, tries = time.perf_counter(), 0
    line = Line("race", (None, None, None, 1), None)
    while store.reserve(f"after {tries}", Amounts(calls=1), [line], hold_s) is not None:
        tries += 1
        time.sleep(0.02)
    waited = time.perf_counter() - started
    store.close()
    return {"held_for_s": hold_s, "free_after_s": round(waited, 2), "refused_meanwhile": tries}


def _hold(place: str, hold_s: float) -> None:
    store = open_store(place)
    store.reserve("killed", Amounts(calls=1), [Line("race", (None, None, None, 1), None)], hold_s)
    time.sleep(600)


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Start a Redis server on this machine; None where there is no such program."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--hold", type=float, default=2.0, help="seconds that a dead one holds")
    options = parser.parse_args(arguments)
    stores: dict[str, Any] = {"memory": race(lambda: None, processes=False)}
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        fresh = (str(Path(folder) / f"budgets{number}.sqlite") for number in range(100))
        stores["SQLite"] = race(lambda: next(fresh), processes=True)
        stores["SQLite"]["killed"] = killed(next(fresh), options.hold)
        if redis is not None:
            databases = (redis.removesuffix("0") + str(number) for number in range(16))
            stores["Redis"] = race(lambda: next(databases), processes=True)
            stores["Redis"]["killed"] = killed(next(databases), options.hold)
    results = {
        "command": f"python -m examples.benchmarks.budget_race --hold {options.hold:g}",
        "seed": None,
        "stores": stores,
    }
    _page.publish(options.out, "budget_race", results, {"budget_race": draw(stores)})


def draw(stores: dict[str, Any]) -> str:
    """Return the table of the page."""
    rows = []
    for store, found in stores.items():
        for case, one in found.items():
            if case == "killed":
                told = (
                    f"free again after {one['free_after_s']:g} s (held for {one['held_for_s']:g})"
                )
                rows.append([store, "killed while it holds the last room", told, ""])
            else:
                told = f"{one['admitted']} of {one['room']}"
                rows.append([store, case, told, f"{one['seconds']:g} s"])
    return _page.markdown(["store", "callers, budget", "admitted, of room for", "took"], rows)


if __name__ == "__main__":
    main()
