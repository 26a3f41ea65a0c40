"""The process that runs llama.cpp's server for one model: `python -m pointsman.providers.llamacpp.child PARENT FD`.

Reads its parameters as one line of JSON from standard input, which then stays open as a lifeline; writes one line of
JSON to the descriptor FD: `{"address": …}` when the model is loaded, else `{"code": …, "message": …}`.
Nothing secret is on the command line or in the environment. It ignores Ctrl-C, which a terminal sends to the whole
group: the parent ends it, when the answers that are under way have ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from typing import Any

from pointsman.providers.llamacpp import lifeline

MENDS = {
    "libgomp": "run `apt-get install libgomp1` (Debian, Ubuntu) or `dnf install libgomp` (Fedora, RHEL)",
    "libomp": "run `brew install libomp`",
}
"""System libraries that the engine needs, and how to get them."""


class _Failed(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.report = {"code": code, "message": message}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent, descriptor = int(sys.argv[1]), int(sys.argv[2])
    lifeline.die_with(parent)
    parameters = json.loads(sys.stdin.buffer.readline())
    lifeline.watch(0)
    # With the default policy, idle OpenMP threads spin, and any other busy process takes the engine's speed away.
    # libgomp reads this when it is loaded, which is when the engine is imported.
    os.putenv("OMP_WAIT_POLICY", "passive")
    _die_first()
    try:
        engine = _import()
        server = _start(engine, parameters)
    except _Failed as failure:
        _tell(descriptor, failure.report)
        sys.exit(1)
    _tell(descriptor, {"address": server.listening_address, "engine": f"xllamacpp-{engine.__version__}"})
    while True:
        signal.pause()


def _die_first() -> None:
    """When memory runs out, Linux shall end this process, which is started again, and not the gateway."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _tell(descriptor: int, report: dict[str, str]) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.write(json.dumps(report).encode() + b"\n")


def _import() -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        if error.name != "xllamacpp":
            raise _Failed("engine_broken", f"The llama.cpp engine cannot be loaded: {error}.") from None
        raise _Failed(
            "engine_missing",
            "The llama.cpp engine (the Python package xllamacpp) is not installed. It has wheels for Linux with glibc"
            f" and for macOS, and this is {sys.platform} {os.uname().machine}: `pip install xllamacpp`, or set"
            " embedded.enabled to false.",
        ) from None
    except (ImportError, OSError) as error:
        raise _Failed(*_library(str(error))) from None
    return xllamacpp


def _library(error: str) -> tuple[str, str]:
    """Code and message for an engine whose shared object cannot be loaded."""
    missing = re.search(r"(lib[\w+-]+)\S*: cannot open shared object file|Library not loaded: \S*?(lib[\w+-]+)", error)
    if missing is None:
        return "engine_broken", f"The llama.cpp engine cannot be loaded: {error}."
    library = missing.group(1) or missing.group(2)
    mend = MENDS.get(library, "install the package of your system that has it")
    return "engine_library_missing", f"The llama.cpp engine needs the system library {library}: {mend}."


def _start(xllamacpp: Any, parameters: dict[str, Any]) -> Any:
    p = xllamacpp.CommonParams()
    p.model.path = parameters["path"]
    p.model_alias = {parameters["name"]}
    p.hostnames = ["127.0.0.1"]
    p.port = 0
    p.api_keys = [parameters["api_key"]]
    # 0 would mean the model's whole context, and the prompt cache's own default is 8 GiB.
    p.n_ctx = parameters["context"]
    p.fit_params = False
    p.n_parallel = parameters["slots"]
    p.cache_ram_mib = parameters["cache_ram_mib"]
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = parameters["threads"]
    p.use_jinja = True
    p.endpoint_metrics = True
    p.offline = True
    p.ui = False
    # Warnings and errors: at the next level every request leaves six lines.
    p.verbosity = 2
    try:
        return xllamacpp.Server(p)
    except RuntimeError as error:
        raise _Failed("engine_load_failed", str(error)) from None


if __name__ == "__main__":
    main()
