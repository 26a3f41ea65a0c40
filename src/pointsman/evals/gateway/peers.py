"""The gateways that can be measured: nginx as the floor, this one, and others.

Each is a context manager over a running process that forwards chat completions to the mock, with what it does by
default switched on, save what calls out to the network. Those from a registry live in environments of their own
(`installing`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pointsman.providers.litellm.supervisor import SETTLED

from .common import BenchError, free_port
from .installing import LITELLM, PORTKEY, SGLANG_ROUTER, SWITCHYARD, TENSORZERO, VLLM_ROUTER, Package
from .running import Lane, Manner, Target, running
from .upstream import Upstream

MODEL = "gpt-4o-mini"
_PLAIN_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a gateway is started with."""

    upstream: Upstream
    workers: int
    cache_dir: Path
    folder: Path
    """Its own, for this start."""

    def environment(self) -> dict[str, str]:
        return {"PATH": _PLAIN_PATH, "HOME": str(self.folder), **self.upstream.environment()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One that can be measured."""

    name: str
    title: str
    start: Callable[[Setting], AbstractContextManager[Target]]
    package: Package | None = None
    """What must be installed for it; None: it is a program of the system, or this one."""
    peer: bool = True
    """Whether it is compared with as a peer: the floor and this gateway are none."""
    workers: str = ""
    """What `--workers` makes of it, for people."""

    def missing(self, cache_dir: Path) -> str | None:
        """Why it cannot be started here."""
        if self.name == "nginx" and find_nginx() is None:
            return "nginx is not installed, so there is no floor; on Debian: apt-get install nginx-light"
        if self.package is not None and not self.package.is_installed(cache_dir):
            return f"{self.title} is not installed; --install does it ({self.package.shown})"
        return None


def find_nginx() -> str | None:
    """Where nginx is installed; Debian's stands in a folder that is not on everyone's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _plain(name: str, **more: str) -> Manner:
    return Manner(lanes=(Lane(name, more.pop("model", MODEL)),), **more)  # type: ignore[arg-type]  # all are str


@contextlib.contextmanager
def nginx(setting: Setting) -> Iterator[Target]:
    """A plain reverse proxy with keep-alive to the upstream and buffering off."""
    program, folder, port, upstream = find_nginx(), setting.folder, free_port(), setting.upstream
    if program is None:
        raise BenchError("nginx is not installed.")
    trust = (
        f"proxy_ssl_trusted_certificate {upstream.authority}; proxy_ssl_verify on; proxy_ssl_name localhost;"
        if upstream.authority
        else ""
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""
        daemon off; worker_processes {setting.workers}; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          client_max_body_size 32m; client_body_buffer_size 256k; keepalive_requests 1000000;
          upstream mock {{ server 127.0.0.1:{upstream.port}; keepalive 128; keepalive_requests 1000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass {"https" if trust else "http"}://mock; proxy_http_version 1.1;
              proxy_set_header Connection ""; proxy_buffering off; {trust}
            }}
          }}
        }}
        """
    )
    command = [program, "-c", str(config), "-p", str(folder)]
    with running("nginx", command, [port], _plain("nginx"), env=setting.environment()) as target:
        yield target


@contextlib.contextmanager
def pointsman(setting: Setting, *, start: Sequence[str] = ("-m", "pointsman")) -> Iterator[Target]:
    """This gateway as a default install runs it, with a key and without the embedded models.

    Args:
        start: what Python is to run.
    """
    ports = [free_port() for _ in range(setting.workers)]
    commands = []
    for number, port in enumerate(ports):
        folder = setting.folder / str(number)
        folder.mkdir()
        config = folder / "pointsman.yaml"
        config.write_text(
            f"""
data_dir: {folder}/data
cache_dir: {folder}/cache
server: {{host: 127.0.0.1, port: {port}, api_keys: [bench]}}
embedded: {{enabled: false}}
log: {{level: warning}}
providers:
  ollama: {{enabled: false}}
  openai:
    base_url: {setting.upstream.url}/v1
    api_key: upstream-key
    models: [gpt-4o-mini, gpt-4o]
"""
        )
        commands.append([sys.executable, *start, "--config", str(config), "serve"])
    manner = Manner(lanes=(Lane("pointsman", f"openai:{MODEL}"), Lane("pointsman, auto", "auto")))
    with running("pointsman", commands[0], ports, manner, env=setting.environment(), more=commands[1:]) as target:
        yield target


@contextlib.contextmanager
def litellm(setting: Setting) -> Iterator[Target]:
    """LiteLLM's proxy with a master key."""
    port, config = free_port(), setting.folder / "config.yaml"
    parameters = {"model": f"openai/{MODEL}", "api_base": f"{setting.upstream.url}/v1", "api_key": "upstream-key"}
    tree = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": "sk-bench"},
    }
    config.write_text(json.dumps(tree))  # YAML too
    command = [
        str(LITELLM.python(setting.cache_dir)), "-P", "-m", "litellm.proxy.proxy_cli", "--config", str(config),
        "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False", "--num_workers", str(setting.workers),
        "--timeout_worker_healthcheck", "120",  # a worker that imports is deaf for longer than the usual 5 s
    ]  # fmt: skip
    env = {**setting.environment(), **SETTLED}
    with running("litellm", command, [port], _plain("litellm", key="sk-bench"), env=env) as target:
        yield target


@contextlib.contextmanager
def portkey(setting: Setting) -> Iterator[Target]:
    """Portkey's gateway on Node, told by each request's headers where to go: it has no configuration of its own."""
    node = shutil.which("node")
    if node is None:
        raise BenchError("Node is not installed; on Debian: apt-get install nodejs npm")
    port = free_port()
    program = PORTKEY.folder(setting.cache_dir) / "node_modules/@portkey-ai/gateway/build/start-server.js"
    manner = Manner(
        lanes=(Lane("portkey", MODEL),),
        headers=("x-portkey-provider: openai", f"x-portkey-custom-host: {setting.upstream.url}/v1"),
    )
    command = [node, str(program), f"--port={port}", "--headless"]
    with running("portkey", command, [port], manner, env=setting.environment()) as target:
        yield target


def _router(package: Package, module: str) -> Callable[[Setting], AbstractContextManager[Target]]:
    """vLLM's router or SGLang's, which are of one origin."""

    @contextlib.contextmanager
    def start(setting: Setting) -> Iterator[Target]:
        port = free_port()
        command = [
            str(package.python(setting.cache_dir)), "-P", "-m", f"{module}.launch_router",
            "--worker-urls", setting.upstream.url, "--host", "127.0.0.1", "--port", str(port),
            "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()),
        ]  # fmt: skip
        with running(package.name, command, [port], _plain(package.name), env=setting.environment()) as target:
            yield target

    return start


@contextlib.contextmanager
def switchyard(setting: Setting) -> Iterator[Target]:
    """NVIDIA's Switchyard: its native server with one route that passes through."""
    port, config = free_port(), setting.folder / "routes.toml"
    config.write_text(
        f"""
schema_version = 1
[llm_clients.mock]
format = "openai_chat"
base_url = "{setting.upstream.url}/v1"
[targets.mock]
id = "{MODEL}"
llm_client = "mock"
[routes.mock]
id = "{MODEL}"
type = "passthrough"
target = "mock"
"""
    )
    host = f"import signal; from switchyard_rust.server import Server; it = Server({str(config)!r}, {port})"
    command = [str(SWITCHYARD.python(setting.cache_dir)), "-P", "-c", f"{host}; signal.pause()"]
    with running("switchyard", command, [port], _plain("switchyard"), env=setting.environment()) as target:
        yield target


@contextlib.contextmanager
def tensorzero(setting: Setting) -> Iterator[Target]:
    """TensorZero's gateway as its Python package carries it, without a database: what it observes is not kept."""
    config = setting.folder / "tensorzero.toml"
    config.write_text(
        f"""
[gateway]
observability.enabled = false
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "{MODEL}"
api_base = "{setting.upstream.url}/v1"
api_key_location = "none"
"""
    )
    host = (
        "import signal, tensorzero; it = tensorzero._start_http_gateway("
        f"config_file={str(config)!r}, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)"
    )
    command = [str(TENSORZERO.python(setting.cache_dir)), "-P", "-c", f"{host}; signal.pause()"]
    manner = _plain("tensorzero", model="tensorzero::model_name::mock", path="/openai/v1/chat/completions")
    with running("tensorzero", command, [0], manner, env=setting.environment()) as target:
        yield target


_THREADS = "takes no number: its threads use every processor in any case"
GATEWAYS = (
    Gateway(name="nginx", title="nginx", start=nginx, peer=False, workers="that many worker processes"),
    Gateway(
        name="pointsman",
        title="Pointsman",
        start=pointsman,
        peer=False,
        workers=(
            "there is no such setting: that many gateways, each on a port and with a data folder of its own, and the"
            " load spread over their ports as a balancer would"
        ),
    ),
    Gateway(name="litellm", title="LiteLLM", start=litellm, package=LITELLM, workers="--num_workers"),
    Gateway(name="portkey", title="Portkey", start=portkey, package=PORTKEY, workers="has none: one Node process"),
    Gateway(
        name="vllm-router",
        title="vLLM Router",
        start=_router(VLLM_ROUTER, "vllm_router"),
        package=VLLM_ROUTER,
        workers=_THREADS,
    ),
    Gateway(
        name="sglang-router",
        title="SGLang Router",
        start=_router(SGLANG_ROUTER, "sglang_router"),
        package=SGLANG_ROUTER,
        workers=_THREADS,
    ),
    Gateway(name="switchyard", title="Switchyard", start=switchyard, package=SWITCHYARD, workers=_THREADS),
    Gateway(name="tensorzero", title="TensorZero", start=tensorzero, package=TENSORZERO, workers=_THREADS),
)


@contextlib.contextmanager
def started(gateway: Gateway, upstream: Upstream, workers: int, cache_dir: Path) -> Iterator[Target]:
    """A running gateway, with a folder that goes when it ends.

    Raises:
        BenchError: it does not start, or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-", ignore_cleanup_errors=True) as folder:
        setting = Setting(upstream=upstream, workers=workers, cache_dir=cache_dir, folder=Path(folder))
        with gateway.start(setting) as target:
            yield target
