"""The shared database: Postgres, through a pool of connections that comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import asyncpg

from pointsman.core.errors import StoreError, StoreUnavailable

from .database import Conflict, Row, Statement
from .migrate import READ_VERSION, check_version

T = TypeVar("T")
Connection = asyncpg.pool.PoolConnectionProxy

POOL_SIZE = 8
GOODBYE = 1.0
"""Seconds for saying goodbye to the server when the pool closes; a server that hangs is left without."""
PAUSE = 0.25
"""Seconds after a failed connection in which nobody tries another: a crowd of callers makes no crowd of attempts."""

AWAY = (
    OSError,
    TimeoutError,
    ssl.SSLError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # it shuts down, or is not up yet
    asyncpg.InsufficientResourcesError,  # no more connections, memory or disk
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, before it is promoted
)
"""Errors of the server or of the way to it, not of the statement: the same may work later."""

BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What may be raised where a connection is only put away."""


def plain_url(url: str) -> str:
    """The address as asyncpg takes it: without the driver's name that other tools put into its scheme."""
    scheme, sep, rest = url.partition("://")
    return f"postgresql://{rest}" if sep and scheme.partition("+")[0] in ("postgres", "postgresql") else url


def shown_url(url: str) -> str:
    """The address as it may be shown: without user, password and options, except the folder of a Unix socket."""
    from urllib.parse import parse_qs

    try:
        parts = urlsplit(url)
        host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "postgresql://…"
    return f"postgresql://{host}{port}{parts.path}" if not host.startswith("/") else f"{parts.path[1:]} in {host}"


def explain(error: BaseException, url: str, timeout: float) -> str:
    """What went wrong with the server, and the mend, in one line and without the password."""
    where = f"Postgres at {shown_url(url)}"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer within {timeout:g} s"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"{where} refuses the user or the password of DATABASE_URL"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"{where}: {error} (make it with createdb, or name another in DATABASE_URL)"
    if isinstance(error, asyncpg.InterfaceError | ValueError) and not isinstance(error, asyncpg.PostgresError):
        return f"{where} cannot be asked ({type(error).__name__})"  # may repeat parts of the address
    if isinstance(error, OSError):
        return f"{where} cannot be reached: {error.strerror or error}"
    return f"{where}: {error}"


async def connect(
    url: str, *, timeout: float, statement_timeout: float | None, **options: Any
) -> asyncpg.Connection[Any]:
    """One connection. `timeout`: seconds to connect; `statement_timeout`: seconds of a statement, None for any."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        plain_url(url), **_options(timeout, statement_timeout), **options
    )
    return connection


def _options(timeout: float, statement_timeout: float | None) -> dict[str, Any]:
    server = {"application_name": "pointsman"}
    if statement_timeout is not None:
        # The server's own bounds hold when this process is stopped or cut off in the middle.
        milliseconds = str(max(1, int(statement_timeout * 1000)))
        server.update(statement_timeout=milliseconds, idle_in_transaction_session_timeout=milliseconds)
    return {"timeout": timeout, "command_timeout": statement_timeout, "server_settings": server}


class PostgresDatabase:
    """A `Database` on a server. Connections that break are made anew at the next call."""

    dialect: Literal["sqlite", "postgres"] = "postgres"

    def __init__(self, url: str, *, timeout: float = 5.0, size: int = POOL_SIZE) -> None:
        """
        Args:
            url: `postgresql://user:password@host/name`, or `postgresql:///name?host=/folder/of/the/socket`.
            timeout: seconds that connecting, and each call, may take.
            size: connections at the most.
        """
        self._url = url
        self._timeout = timeout
        self._size = size
        self._pool: asyncpg.Pool[Any] | None = None
        self._failed_at = float("-inf")
        self._failure = ""

    @property
    def where(self) -> str:
        """The server as it may be shown."""
        return shown_url(self._url)

    async def open(self) -> None:
        try:
            check_version(await self.peek(), f"The database {self.where}")
        except BaseException:
            await self.close()
            raise

    async def peek(self) -> int:
        """Connect, and tell the schema's version, whether it will do or not; 0 when there are no tables of ours."""
        try:
            self._pool = asyncpg.create_pool(
                plain_url(self._url),
                min_size=0,
                max_size=self._size,
                max_inactive_connection_lifetime=300,
                reset=_leave,
                **_options(self._timeout, self._timeout),
            )
            await self._pool
        except (OSError, ValueError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"{explain(error, self._url, self._timeout)}.") from None
        if (await self.fetch("SELECT to_regclass('alembic_version') IS NOT NULL"))[0][0]:
            found = await self.fetch(READ_VERSION)
            return int(found[0][0]) if found else 0
        return 0

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        async def work(connection: Connection[Any]) -> list[Row]:
            return [tuple(row) for row in await connection.fetch(sql, *values)]

        return await self._run(work)

    async def execute(self, sql: str, *values: Any) -> int:
        async def work(connection: Connection[Any]) -> int:
            return _touched(await _execute(connection, sql, values))

        return await self._run(work)

    async def transaction(self, statements: Sequence[Statement]) -> list[int]:
        async def work(connection: Connection[Any]) -> list[int]:
            touched = []
            async with connection.transaction():
                for sql, values, expect in statements:
                    touched.append(_touched(await _execute(connection, sql, values)))
                    if expect is not None and touched[-1] != expect:
                        raise Conflict("Another change came first.")
            return touched

        return await self._run(work)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(GOODBYE):
                    await pool.close()
            except BROKEN:
                pool.terminate()

    async def _run(self, work: Callable[[Connection[Any]], Awaitable[T]]) -> T:
        if self._pool is None:
            raise StoreUnavailable("The database is closed.")
        if time.monotonic() - self._failed_at < PAUSE:
            raise StoreUnavailable(self._failure)
        pool = self._pool
        try:
            connection = await pool.acquire(timeout=self._timeout)
        except (*AWAY, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            if not isinstance(error, asyncpg.TooManyConnectionsError):
                self._failed_at = time.monotonic()
            self._failure = f"{explain(error, self._url, self._timeout)}."
            raise StoreUnavailable(self._failure) from None
        try:
            async with asyncio.timeout(self._timeout):
                return await work(connection)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()  # a server that hangs would not let go of who wants to leave
            raise
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Conflict(f"The change is not possible: {error}.") from None
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            raise Conflict("Another change came first.") from None
        except asyncpg.QueryCanceledError:
            raise StoreUnavailable(f"{explain(TimeoutError(), self._url, self._timeout)}.") from None
        except (ValueError, OverflowError) as error:  # a value that the column does not take
            raise StoreError(f"The database does not take a value: {error}") from error
        except (*AWAY, asyncpg.InternalClientError) as error:
            with contextlib.suppress(asyncpg.InterfaceError):  # it is closed, and the pool knows
                connection.terminate()  # whatever state it is in, the next call gets a new one
            raise StoreUnavailable(f"{explain(error, self._url, self._timeout)}.") from error
        except asyncpg.PostgresError as error:
            raise StoreError(f"The database failed: {error}") from error
        finally:
            # A connection that cannot be given back is thrown away, and the next call gets a new one.
            with contextlib.suppress(*BROKEN):
                await pool.release(connection, timeout=self._timeout)


async def _leave(connection: asyncpg.Connection[Any]) -> None:
    """Nothing of ours lives in a session, so that no question is asked when a connection is given back: it would cost
    each call another way to the server, and hang where that hangs."""


async def _execute(connection: Connection[Any], sql: str, values: Sequence[Any]) -> str:
    status: str = await connection.execute(sql, *values)
    return status


def _touched(status: str) -> int:
    """How many rows a command's tag tells of: `INSERT 0 2`, `UPDATE 1`, `CREATE TABLE`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
