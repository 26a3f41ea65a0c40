"""One connection to Redis or Valkey that many tasks share: what they ask at the same time travels together.

`redis.asyncio` connects, signs in and reads replies. Its client is left out: a pool of connections costs more than the
commands do, and it sends a command again whose reply was lost, which may then run twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pointsman.core.shared import StateUnavailable

log = logging.getLogger(__name__)


class PerRun:
    """A word with the id of the server's run in its middle, a new one after each of its starts.

    For keys of sums that must be right: a server that crashed comes back with those of its last snapshot, which may be
    an hour old, and a replica that takes over may lack the last ones. Under the new id they are not known.
    """

    __slots__ = ("after", "before")

    def __init__(self, before: bytes, after: bytes = b"") -> None:
        self.before = before
        self.after = after


Word = str | bytes | int | float | PerRun

TOGETHER = 128
"""Commands that travel in one go at most."""

WAITING = 10_000
"""Commands that may wait at most; more are refused."""

PAUSE = 0.2
"""Seconds between two attempts to reach a server that is away."""


GRACE = 0.05
"""Seconds that an answer gets beyond its time: when the whole process was held up, it lies there unread."""


class Wire(Protocol):
    """What is used of `redis.asyncio.connection.AbstractConnection`."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def can_read(self) -> bool: ...
    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> Any: ...


class Address:
    """Where the server is. `str` shows it without secrets."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """
        Args:
            url: `redis://user:password@host:6379/0`, `rediss://…` for TLS, or `unix:///path?db=0`.
            password: what is sent where the URL names none.

        Raises:
            ValueError: it is no such address; the message holds no secret.
        """
        from redis.asyncio.connection import Connection, SSLConnection, parse_url

        for ours, theirs in (("valkey://", "redis://"), ("valkeys://", "rediss://")):
            if url.startswith(ours):
                url = theirs + url.removeprefix(ours)
        try:
            found: dict[str, Any] = dict(parse_url(url))
        except ValueError:
            found = {}
        if not found.keys() & {"host", "path"}:
            raise ValueError("must be an address such as redis://host:6379/0, rediss://… or unix:///path") from None
        self._kind: Any = found.pop("connection_class", Connection)
        if password and "password" not in found:
            found["password"] = password
        for name in ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "max_connections"):
            found.pop(name, None)  # ours are the ones that hold
        self._arguments = found
        self._password: str | None = found.get("password")
        place = found.get("path") or f"{found.get('host', 'localhost')}:{found.get('port', 6379)}"
        scheme = "unix" if "path" in found else "rediss" if self._kind is SSLConnection else "redis"
        self._shown = f"{scheme}://{place}" + (f"/{found['db']}" if found.get("db") else "")
        self.connection()

    def __str__(self) -> str:
        return self._shown

    __repr__ = __str__

    def connection(self) -> Wire:
        """A connection that is not open yet."""
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        try:
            connection: Wire = self._kind(
                **self._arguments,
                protocol=2,
                driver_info=None,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,
                socket_connect_timeout=None,
            )
        except TypeError:
            raise ValueError("names an option after the ? that is not known") from None
        return connection

    def without_secret(self, text: str) -> str:
        return text.replace(self._password, "…") if self._password else text


class Script:
    """A Lua script of ours, with the parts it builds on. Sent once, then called by its SHA-1."""

    __slots__ = ("by_sha", "whole")

    def __init__(self, name: str, *parts: str) -> None:
        folder = Path(__file__).parent / "lua"
        texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("_rules", *parts, name)]
        source = "\n".join(texts).encode()
        self.by_sha: tuple[Word, ...] = ("EVALSHA", hashlib.sha1(source, usedforsecurity=False).hexdigest())
        self.whole: tuple[Word, ...] = ("EVAL", source)


class _Call:
    __slots__ = ("reply", "script", "words")

    def __init__(self, script: Script | None, words: tuple[Word, ...], reply: asyncio.Future[Any]) -> None:
        self.script = script
        self.words = words
        self.reply = reply

    def packed(self, run: bytes, *, whole: bool) -> bytes:
        if self.script is None:
            return _packed(self.words, run)
        return _packed((*(self.script.whole if whole else self.script.by_sha), *self.words), run)

    def fail(self, error: StateUnavailable) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class RedisLink:
    """Runs commands in order over one connection.

    While the server is away every call is refused at once, and one task of the link's own knocks until it answers:
    no request pays for finding out. A command whose reply is lost may have run; it is never sent twice.
    """

    def __init__(self, address: Address, *, timeout: float, knock: tuple[Word, ...]) -> None:
        """
        Args:
            timeout: seconds that connecting may take, and then again the answer.
            knock: a command that succeeds when the server can be used.
        """
        self.address = address
        self._timeout = timeout
        self._knock = _packed(knock, b"")
        self._run = b""
        """The id of the server's run; empty where it may not be asked for."""
        self._connection: Wire | None = None
        self._queue: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._away: str | None = None
        self._closed = False

    @property
    def away(self) -> str | None:
        """Why the server does not count as there, or None."""
        return self._away

    @property
    def server_run(self) -> bytes:
        """The id of the server's run that was connected to last; empty where it may not be asked for."""
        return self._run

    async def run(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """Run a script in one atomic step; texts of its reply are bytes.

        Raises:
            StateUnavailable: no answer, or a refusal.
        """
        return await self._call(script, (len(keys), *keys, *arguments))

    async def command(self, *words: Word) -> Any:
        """Run one command.

        Raises:
            StateUnavailable: no answer, or a refusal.
        """
        return await self._call(None, words)

    async def close(self) -> None:
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        self._refuse_queued("The gateway stops.")
        await self._hang_up()

    def _call(self, script: Script | None, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        if self._away is not None:
            raise StateUnavailable(self._away)
        if self._closed:
            raise StateUnavailable("The gateway stops.")
        if len(self._queue) >= WAITING:
            raise StateUnavailable(f"{WAITING} requests wait for {self.address} already.")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Call(script, words, reply))
        self._wake.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="redis-link")
        return reply

    async def _work(self) -> None:
        while True:
            if self._away is not None:
                await self._return()
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            together: list[_Call] = []
            while self._queue and len(together) < TOGETHER:
                call = self._queue.popleft()
                if not call.reply.done():  # whoever asked may have gone
                    together.append(call)
            if together:
                await self._exchange(together)

    async def _exchange(self, calls: list[_Call]) -> None:
        from redis.exceptions import RedisError

        sent = False
        try:
            connection = await self._connected()
            sent = True
            unknown = await self._ask(connection, calls, whole=False)
            if unknown:  # the server knows no such script (it is fresh), so it has not run
                await self._ask(connection, unknown, whole=True)
        except asyncio.CancelledError:
            for call in calls:
                call.fail(_unavailable("The gateway stops.", sent=sent))
            raise
        except (OSError, TimeoutError, RedisError, ValueError) as error:
            await self._hang_up()
            self._leave(error)
            for call in calls:
                call.fail(_unavailable(self._away, sent=sent))
            self._refuse_queued(self._away)

    async def _ask(self, connection: Wire, calls: list[_Call], *, whole: bool) -> list[_Call]:
        """Send them together and hand out the replies; returns those whose script the server does not know."""
        from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

        unknown = []
        commands = b"".join([call.packed(self._run, whole=whole) for call in calls])
        async with _within(self._timeout):
            await connection.send_packed_command(commands, check_health=False)
            for call in calls:
                try:
                    reply = await connection.read_response(disable_decoding=True)
                except NoScriptError:
                    unknown.append(call)
                except ReadOnlyError:  # it became a replica: another is the primary now
                    raise
                except ResponseError as error:
                    if _is_busy(error):
                        raise
                    call.fail(StateUnavailable(self._refusal(error)))
                else:
                    if not call.reply.done():
                        call.reply.set_result(reply)
        return unknown

    async def _connected(self) -> Wire:
        connection = self._connection
        if connection is not None:
            # What can be read before anything was asked is an end: the server went, or closed an idle connection.
            if connection.is_connected and not await connection.can_read():
                return connection
            await self._hang_up()
        connection = self._connection = self.address.connection()
        async with _within(self._timeout):
            await connection.connect()
            self._run = await _run_of(connection)
        return connection

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _return(self) -> None:
        """Knock until the server can be used."""
        from redis.exceptions import RedisError

        while True:
            await asyncio.sleep(PAUSE)
            try:
                connection = await self._connected()
                async with _within(self._timeout):
                    await connection.send_packed_command(self._knock, check_health=False)
                    await connection.read_response()
            except (OSError, TimeoutError, RedisError, ValueError) as error:
                await self._hang_up()
                self._away = self._reason(error)
            else:
                self._away = None
                log.info("The shared state at %s answers again.", self.address)
                return

    def _leave(self, error: Exception) -> None:
        self._away = self._reason(error)
        log.warning("%s Limits and budgets act by their when_state_is_away until it does.", self._away)

    def _refuse_queued(self, reason: str | None) -> None:
        while self._queue:
            self._queue.popleft().fail(StateUnavailable(reason))

    def _reason(self, error: Exception) -> str:
        from redis import exceptions as theirs

        if isinstance(error, TimeoutError | theirs.TimeoutError):
            said = f"did not answer within {self._timeout:g} s: see whether it runs and can be reached"
        elif isinstance(error, theirs.AuthenticationError):
            said = f"refuses the user or password ({_line(error)}): set them in REDIS_URL, or REDIS_PASSWORD"
        elif isinstance(error, theirs.BusyLoadingError):
            said = "is still loading its data: wait"
        elif isinstance(error, theirs.ReadOnlyError):
            said = "is a replica that cannot be written: name the primary in REDIS_URL"
        elif isinstance(error, theirs.NoPermissionError):
            said = f"forbids this user what is needed ({_line(error)}): see the permissions in the how-to"
        elif isinstance(error, theirs.MovedError | theirs.ClusterDownError | theirs.ClusterCrossSlotError):
            said = f"is part of a cluster ({_line(error)}): name a server that stands alone, or its proxy"
        elif isinstance(error, theirs.ResponseError):
            said = f"cannot be used ({_line(error)})"
        else:
            said = f"cannot be reached ({_line(error)}): see whether it runs and REDIS_URL is right"
        return self.address.without_secret(f"The shared state at {self.address} {said}.")

    def _refusal(self, error: Exception) -> str:
        from redis import exceptions as theirs

        if isinstance(error, theirs.OutOfMemoryError):
            said = "has no memory left: raise its maxmemory"
        elif isinstance(error, theirs.NoPermissionError | theirs.MovedError | theirs.ClusterDownError):
            return self._reason(error)
        elif "WRONGTYPE" in str(error):
            said = f"holds something else under a key of ours ({_line(error)}): delete it, or set another state.prefix"
        else:
            said = f"refused a step ({_line(error)})"
        return self.address.without_secret(f"The shared state at {self.address} {said}.")


def _unavailable(message: str | None, *, sent: bool) -> StateUnavailable:
    error = StateUnavailable(message)
    error.sent = sent
    return error


async def _run_of(connection: Wire) -> bytes:
    from redis.exceptions import ResponseError

    await connection.send_packed_command(_packed(("INFO", "server"), b""), check_health=False)
    try:
        told: bytes = await connection.read_response(disable_decoding=True)
    except ResponseError:  # not permitted
        return b""
    return next((line[7:].strip() for line in told.splitlines() if line.startswith(b"run_id:")), b"")


def _packed(words: Sequence[Word], run: bytes) -> bytes:
    """A command as the protocol wants it. Floats are written in full."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if isinstance(word, bytes):
            data = word
        elif isinstance(word, str):
            data = word.encode()
        elif isinstance(word, PerRun):
            data = word.before + run + word.after
        else:
            data = repr(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after so many seconds of waiting, not counting a stall of the event loop at their end."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        last_chance = loop.call_later(seconds, lambda: limit.reschedule(loop.time() + GRACE))
        try:
            yield
        finally:
            last_chance.cancel()


def _is_busy(error: Exception) -> bool:
    """Whether the server refuses everything for now: a script runs too long, its disk is full, too few replicas."""
    return str(error).startswith(("BUSY ", "MISCONF ", "NOREPLICAS ", "UNKILLABLE "))


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(". ")
