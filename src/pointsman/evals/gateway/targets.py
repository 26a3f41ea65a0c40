"""What is measured: nginx as the floor, and this gateway, each in processes of its own as it would be installed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .common import BenchError, free_port

KEY = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running gateway."""

    name: str
    port: int
    process: psutil.Process
    start_seconds: float

    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def processor_seconds(self) -> float:
        """User and system time of the process tree so far."""
        return sum(_processor_seconds(process) for process in self.tree())

    def memory_bytes(self) -> int:
        """Unique set size of the process tree: what would be freed if it ended."""
        return sum(process.memory_full_info().uss for process in self.tree())


def _processor_seconds(process: psutil.Process) -> float:
    """Time on a processor. Linux counts it in nanoseconds a thread; elsewhere the clock's ticks have to do."""
    tasks = Path(f"/proc/{process.pid}/task")
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
    except (OSError, ValueError, IndexError):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            return float(times.user + times.system)
        return 0.0


@contextlib.contextmanager
def mock_upstream(module: str = "pointsman.evals.gateway.mock") -> Iterator[int]:
    """The mock's port."""
    with subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def find_nginx() -> str | None:
    """Where nginx is installed; Debian's stands in a folder that is not on everyone's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(upstream: int) -> Iterator[Target]:
    """nginx as a plain reverse proxy with keep-alive to the upstream and buffering off."""
    program = find_nginx()
    if program is None:
        raise BenchError("nginx is not installed.")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(
            f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 1024; }}
            http {{
              access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
              fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
              client_max_body_size 32m; client_body_buffer_size 256k; keepalive_requests 1000000;
              upstream mock {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000; }}
              server {{
                listen 127.0.0.1:{port};
                location / {{
                  proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off;
                }}
              }}
            }}
            """
        )
        with _running("nginx", [program, "-c", str(config), "-p", folder], port, env=None) as target:
            yield target


@contextlib.contextmanager
def pointsman(
    upstream: int,
    *,
    name: str = "pointsman",
    data_plane: str = "native",
    start: Sequence[str] = ("-m", "pointsman"),
) -> Iterator[Target]:
    """This gateway as a default install runs it, with a key and without the embedded models.

    Args:
        start: what Python is to run.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder:
        config = Path(folder) / "pointsman.yaml"
        config.write_text(
            f"""
data_dir: {folder}/data
cache_dir: {folder}/cache
server: {{host: 127.0.0.1, port: {port}, api_keys: [{KEY}], data_plane: {data_plane}}}
embedded: {{enabled: false}}
log: {{level: warning}}
providers:
  ollama: {{enabled: false}}
  openai:
    base_url: http://127.0.0.1:{upstream}/v1
    api_key: upstream-key
    models: [gpt-4o-mini, gpt-4o]
"""
        )
        command = [sys.executable, *start, "--config", str(config), "serve"]
        with _running(name, command, port, env={"PATH": "/usr/bin:/bin", "HOME": folder}) as target:
            yield target


@contextlib.contextmanager
def _running(name: str, command: list[str], port: int, *, env: Mapping[str, str] | None) -> Iterator[Target]:
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env) as process,
    ):
        try:
            while not _listens(port):
                if process.poll() is not None or time.perf_counter() - started > 30:
                    output.seek(0)
                    raise BenchError(f"{name} did not start: {output.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.005)
            yield Target(
                name=name,
                port=port,
                process=psutil.Process(process.pid),
                start_seconds=time.perf_counter() - started,
            )
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False
