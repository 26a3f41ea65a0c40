"""What `pointsman doctor` finds of the embedded models: their weights, and whether the engine runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from pointsman.core.errors import EngineError, WeightsError
from pointsman.providers.llamacpp.engine import Engine
from pointsman.providers.llamacpp.process import EngineSpec
from pointsman.providers.llamacpp.sources import Source, load_sources
from pointsman.providers.llamacpp.weights import is_present, weights_path
from pointsman.providers.llamacpp.wheels import sha256_of
from pointsman.settings import Settings, child_environment
from pointsman.transport.http import Outbound

from .checks import Finding, broken, fine, warning
from .output import size
from .text import safe_line

START_SECONDS = 60.0
LOG_LINES = 5


async def embedded(settings: Settings, outbound: Outbound) -> AsyncIterator[Finding]:
    """Weights of every embedded model that is enabled, and the engine on the smallest that is sound."""
    if not settings.embedded.enabled:
        yield fine("Embedded models", "not enabled (embedded.enabled)")
        return
    sources, sound = load_sources(), []
    for name in settings.embedded.models:
        source = sources.get(name)
        if source is None:
            yield broken(
                f"Weights {name}",
                "there is no such embedded model",
                f"Set embedded.models to any of {', '.join(sources)}.",
            )
            continue
        finding = await asyncio.to_thread(_weights, name, source, settings.cache_dir)
        yield finding
        if finding.status == "ok":
            sound.append((source.size, name, source))
    if sound:
        _, name, source = min(sound, key=lambda entry: entry[0])
        yield await _engine(name, source, settings, outbound)
    else:
        yield await _library()


def _weights(name: str, source: Source, cache_dir: Path) -> Finding:
    """Reads the whole file; hashing takes about a second for half a gigabyte."""
    part, path = f"Weights {name}", weights_path(source, cache_dir)
    again = f"`pointsman models pull {name}` fetches it again."
    if not path.exists():
        return warning(
            part,
            f"not here yet; the first start fetches {size(source.download_size)}",
            f"`pointsman models pull {name}` fetches it now.",
        )
    if not is_present(source, cache_dir):
        return broken(part, f"{path} has {path.stat().st_size:,} bytes instead of {source.size:,}", again)
    try:
        whole = sha256_of(path) == source.sha256
    except OSError as error:
        return broken(part, f"{path} cannot be read: {error.strerror or error}", again)
    if not whole:
        return broken(part, f"{path} is damaged: its SHA-256 is wrong", again)
    return fine(part, f"{path}, {size(source.size)}, SHA-256 is right")


async def names(settings: Settings) -> list[Finding]:
    """The library and the files of the model that finds names of people, and a start of it."""
    from pointsman.core.people import ModelAway
    from pointsman.providers.entities.finder import INSTALL, NameFinder, installed
    from pointsman.providers.entities.model import folder_of, intact

    part = "Named entities"
    if not installed():
        return [broken(part, "the extra is not installed, and the gateway does not start", f"{INSTALL}")]
    if not await asyncio.to_thread(intact, settings.cache_dir):
        folder = folder_of(settings.cache_dir)
        mend = "The gateway's start fetches it; at level high requests with unread messages stay local until then."
        return [warning(part, f"the model is not whole in {folder}", mend)]
    finder = NameFinder(cache_dir=settings.cache_dir, environment=child_environment({}))
    try:
        await finder.start()
        await asyncio.to_thread(finder, ["Ask Margaret Holloway."])
    except (ModelAway, WeightsError) as error:
        return [broken(part, str(error), f"Install the extra anew: {INSTALL}")]
    finally:
        await asyncio.to_thread(finder.close)
    return [fine(part, "the model's files are right, and it answers")]


async def _engine(name: str, source: Source, settings: Settings, outbound: Outbound) -> Finding:
    """Start the engine on a small context, ask for its health, and stop it."""
    spec = EngineSpec(
        name=name, path=weights_path(source, settings.cache_dir), context_per_slot=512, slots=1, cache_ram_mib=0
    )
    engine = Engine(spec, environment=child_environment({}), data_dir=settings.data_dir, outbound=outbound)
    try:
        await engine.start()
        await engine.ready(timeout=START_SECONDS)
        if not await engine.healthy():
            raise EngineError(f"The engine loaded {name} and does not answer.")
        took = engine.status.start_seconds or 0.0
    except EngineError as error:
        tail = " | ".join(map(safe_line, engine.tail_log(LOG_LINES)))
        detail = error.message + (f" Its log ends: {tail}" if tail else "")
        return broken("Engine", detail, _mend(error))
    finally:
        await engine.stop()
    return fine("Engine", f"llama.cpp loads {name} in {took:.1f} s and answers")


def _mend(error: EngineError) -> str:
    if "libgomp" in error.message:
        return "Install libgomp1 (Debian, Ubuntu: apt-get install libgomp1)."
    return "Free some memory, or take a smaller model in embedded.models; the log holds the whole story."


async def _library() -> Finding:
    """Without weights to load: whether the engine's library can be loaded at all, tried in a child."""
    import sys

    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import xllamacpp",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=child_environment({}),
    )  # fmt: skip
    _, said = await child.communicate()
    if child.returncode == 0:
        return fine("Engine", "its library loads; no weights are here to try it with")
    last = safe_line(said.decode("utf-8", "replace").strip().rpartition("\n")[2]) or f"exit status {child.returncode}"
    mend = "Install libgomp1." if "libgomp" in last else "`make install`, or `pip install xllamacpp` again."
    return broken("Engine", f"its library does not load: {last}", mend)
