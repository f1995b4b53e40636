"""Budgets in a Redis server, shared by many machines.

In: the address of the server. Out: a store in which each operation is one script that the server
runs by itself, by its own clock. What survives the server's restart is for its configuration to
say (appendonly), and so is that it forgets nothing when its memory is full (noeviction).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shared_core.accounting.budgets.stores import (
    ENDED_S,
    GRACE_S,
    UNUSED_S,
    Amounts,
    Line,
    Shared,
    Standing,
    already_held,
    check_reserve,
    check_settle,
)
from shared_core.errors import ConfigurationError, MissingExtraError, StorageError

__all__ = ["RedisStore"]

# KEYS: when holds become void (a sorted set, in microseconds); what they hold (a hash of JSON:
# amounts, accounts). ARGV: how keys of accounts begin; the accounts. Those of void holds are known
# only here, so keys of accounts are not declared; the one hash tag keeps all keys of a namespace
# together in a cluster. Lua's numbers are exact up to 2^53; Redis makes the sums, in 64 bits.
_COMMON = (
    f"local UNUSED_S = {int(UNUSED_S)}"
    + """
local AMOUNTS = {'nano_usd', 'micro_wh', 'tokens', 'calls'}
local HELD = {'held_nano_usd', 'held_micro_wh', 'held_tokens', 'held_calls'}
local prefix, names = ARGV[1], cjson.decode(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function add(key, fields, amounts, sign)
    for place, field in ipairs(fields) do
        if amounts[place] ~= '0' then
            redis.call('HINCRBY', key, field, sign .. amounts[place])
        end
    end
end

local function release(hold)
    local held = redis.call('HGET', KEYS[2], hold)
    if not held then return end
    held = cjson.decode(held)
    for _, name in ipairs(held[2]) do
        local key = prefix .. name
        if redis.call('EXISTS', key) == 1 then add(key, HELD, held[1], '-') end
    end
    redis.call('HDEL', KEYS[2], hold)
    redis.call('ZREM', KEYS[1], hold)
end

local function keep(key, until_s, least_s)  -- never shorter than it is kept already
    local seconds = UNUSED_S
    if until_s ~= '' then seconds = until_s - time[1] end
    seconds = math.max(seconds, least_s)
    if redis.call('TTL', key) < seconds then redis.call('EXPIRE', key, seconds) end
end

for _, hold in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do release(hold) end
"""
)

_STANDINGS = """
local standings = {}
for place, name in ipairs(names) do
    standings[place] = redis.call('HMGET', prefix .. name, unpack(AMOUNTS))
    for _, held in ipairs(redis.call('HMGET', prefix .. name, unpack(HELD))) do
        table.insert(standings[place], held)
    end
end
return standings
"""

# KEYS[3]: exists if the hold has ended. ARGV: hold, what it holds, limits, keep_until's, seconds
_HELD, _ALREADY_HELD = -1, -2  # as the script below returns them, or a place
_RESERVE = """
local hold, held, limits, keeps = ARGV[3], ARGV[4], cjson.decode(ARGV[5]), cjson.decode(ARGV[6])
local seconds = tonumber(ARGV[7])
local amounts = cjson.decode(held)[1]
if redis.call('EXISTS', KEYS[3]) == 1 or redis.call('HEXISTS', KEYS[2], hold) == 1 then
    return -2
end
for line, name in ipairs(names) do
    for place = 1, 4 do
        local limit = limits[line][place]
        if limit ~= '' then
            local there = redis.call('HMGET', prefix .. name, AMOUNTS[place], HELD[place])
            if (there[1] or 0) + (there[2] or 0) + amounts[place] > tonumber(limit) then
                return line - 1
            end
        end
    end
end
for line, name in ipairs(names) do
    redis.call('HINCRBY', prefix .. name, 'calls', 0)  -- so that there is something to keep
    add(prefix .. name, HELD, amounts, '')
    keep(prefix .. name, keeps[line], math.ceil(seconds) + 1)
end
redis.call('HSET', KEYS[2], hold, held)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + math.ceil(seconds * 1000000)), hold)
return -1
"""

# KEYS[3]: exists if the hold has ended. ARGV: hold, amounts, keep_until's, seconds to remember it
_SETTLE = """
local hold, amounts, keeps = ARGV[3], cjson.decode(ARGV[4]), cjson.decode(ARGV[5])
if not redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[6]) then return 0 end
release(hold)
for line, name in ipairs(names) do
    redis.call('HINCRBY', prefix .. name, 'calls', 0)
    add(prefix .. name, AMOUNTS, amounts, '')
    keep(prefix .. name, keeps[line], 0)
end
return 1
"""


class RedisStore(Shared):
    """Budgets that many machines share, in a Redis server (5 or later).

    Pickled, it connects to the same server in the other process, and so carries the address with
    its password.

    Attributes:
        place: The address without user, password and options.
    """

    slow = True

    def __init__(self, url: str, namespace: str = "router-llm", timeout_s: float = 2.0) -> None:
        """Take the address; the server is asked when the store is used.

        Args:
            url: "redis://host:6379/0", "rediss://…" (TLS) or "unix:///path".
            namespace: How all keys begin; other programs may use the server too.
            timeout_s: Seconds to wait for a connection and for an answer. Nothing is tried twice.

        Raises:
            ConfigurationError: The address or the namespace is wrong.
            MissingExtraError: redis is not installed.
        """
        if not namespace or set("{}") & set(namespace):
            raise ConfigurationError(f"a namespace is a string without braces, not {namespace!r}")
        self._url, self._namespace, self._timeout_s = url, namespace, timeout_s
        self.place = _place(url)
        self._connect()
        begin = f"{{{namespace}}}:"
        self._keys = [begin + "void_at", begin + "holds"]
        self._account, self._ended = begin + "account:", begin + "ended:"

    def __repr__(self) -> str:
        """Show the address, without the password."""
        return f"{type(self).__name__}({self.place!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the address over."""
        return type(self), (self._url, self._namespace, self._timeout_s)

    def _connect(self) -> None:
        self._client = _client(self._url, self.place, self._timeout_s)
        self._scripts = {
            script: self._client.register_script(_COMMON + script)
            for script in (_STANDINGS, _RESERVE, _SETTLE)
        }
        self._pid = os.getpid()

    def standings(self, accounts: Sequence[str]) -> list[Standing]:
        """See `Store.standings`."""
        rows = self._run(_STANDINGS, self._keys, [self._account, json.dumps(list(accounts))])
        numbers = [[int(number or 0) for number in row] for row in rows]
        return [Standing(Amounts(*row[:4]), Amounts(*row[4:])) for row in numbers]

    def reserve(
        self, hold: str, amounts: Amounts, lines: Sequence[Line], seconds: float
    ) -> int | None:
        """See `Store.reserve`."""
        check_reserve(hold, amounts, lines, seconds)
        names = [line.account for line in lines]
        limits = [["" if most is None else str(most) for most in line.limits] for line in lines]
        keeps = [_forget_at(line.keep_until) for line in lines]
        place = self._run(
            _RESERVE,
            [*self._keys, self._ended + hold],
            [
                self._account,
                json.dumps(names),
                hold,
                json.dumps([list(map(str, amounts)), names]),
                json.dumps(limits),
                json.dumps(keeps),
                seconds,
            ],
        )
        if place == _ALREADY_HELD:
            raise already_held(hold)
        return None if place == _HELD else int(place)

    def settle(
        self, hold: str, accounts: Sequence[tuple[str, float | None]], spent: Amounts
    ) -> None:
        """See `Store.settle`."""
        check_settle(hold, accounts, spent)
        self._run(
            _SETTLE,
            [*self._keys, self._ended + hold],
            [
                self._account,
                json.dumps([name for name, _ in accounts]),
                hold,
                json.dumps(list(map(str, spent))),
                json.dumps([_forget_at(keep_until) for _, keep_until in accounts]),
                int(ENDED_S),
            ],
        )

    def close(self) -> None:
        """See `Store.close`."""
        if self._pid == os.getpid():
            self._client.connection_pool.disconnect()

    def _run(self, script: str, keys: list[str], arguments: list[str | int | float]) -> Any:
        """Run a script in the server.

        Raises:
            StorageError: The server cannot be reached, or refuses.
        """
        import redis

        if self._pid != os.getpid():  # redis' own pool may wait for a thread that was not forked
            self._connect()
        try:
            return self._scripts[script](keys, arguments)
        except redis.RedisError as error:
            raise StorageError(self.place, _fault(error)) from error


def _fault(error: Exception) -> str:
    import redis

    if isinstance(error, redis.TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, redis.AuthenticationError):
        return "the server does not accept the user or the password in the address"
    if isinstance(error, redis.ConnectionError):
        return f"the server cannot be reached: {error}"
    return f"the server refuses: {error}"


def _client(url: str, place: str, timeout_s: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise MissingExtraError("redis", "redis") from error
    try:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a hold that was made cannot be made again
        )
        pool.connection_class(**pool.connection_kwargs)  # looks at its options, and connects later
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{place}: the address has an option that redis does not know"
        ) from None
    return redis.Redis(connection_pool=pool)  # which then leaves closing it to us


def _place(url: str) -> str:
    """Return an address that can be shown; refuse one that redis would read in another way.

    A password with one of the signs / ? # @ in it, as it is, would be taken for a host or a path.
    """
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        host, port, path = parts.hostname or "localhost", parts.port or 6379, parts.path
        if parts.query:
            parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        parts = None
    unix = scheme == "unix"
    if (
        parts is None
        or parts.fragment
        or parts.netloc.count("@") > 1
        or not (path if unix else path[1:].isdecimal() or path in ("", "/"))
        or (unix and parts.netloc.rpartition("@")[2])
    ):
        raise ConfigurationError(
            f"the {scheme}:// address cannot be read: it is redis://:password@host:6379/0 or "
            "unix:///path, and signs such as / ? # @ in a password are written %2F %3F %23 %40"
        )
    return f"unix://{path}" if unix else f"{scheme}://{host}:{port}/{path[1:] or 0}"


def _forget_at(keep_until: float | None) -> str:
    return "" if keep_until is None else str(math.ceil(keep_until + GRACE_S))
