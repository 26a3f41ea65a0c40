"""A gateway that may have few files open: every caller is answered, or told to come again, and nobody is blamed."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from pointsman.testing import Answer, ScriptedUpstream

from .running import Background, Gateway, running

CALLERS = 110


@pytest.fixture(scope="module")
def upstream(background: Background) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(default=Answer(text="a b c d e f g h", pieces=8, delay=0.15), models=("a",))
    background.run(server.__aenter__())
    yield server
    background.run(server.refuse())


def settings(upstream: ScriptedUpstream, **server: int) -> dict[str, object]:
    return {
        "providers": {"lan": {"base_url": upstream.base_url, "local": True, "models": ["a"]}},
        "execution": {"breaker": {"enabled": True}},
        "server": server,
    }


async def _streams(gateway: Gateway) -> Counter[str]:
    """How streams that are asked for at once ended."""
    seen: Counter[str] = Counter()
    body = {"model": "lan:a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one() -> None:
            async with session.post(f"{gateway.url}/v1/chat/completions", json=body) as reply:
                told = await reply.read()
            if reply.status == 200 and told.endswith(b"data: [DONE]\n\n"):
                seen["whole"] += 1
            else:
                seen[f"{reply.status} {b'overloaded' in told} {'retry-after' in reply.headers}"] += 1

        await asyncio.gather(*(one() for _ in range(CALLERS)))
    return seen


def test_a_soft_limit_is_raised_to_what_the_system_allows(upstream: ScriptedUpstream, tmp_path: Path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 600:
        pytest.skip("this machine allows no more")
    with running(tmp_path, settings(upstream), under=("sh", "-c", 'ulimit -S -n 256; exec "$0" "$@"')) as gateway:
        soft, _ = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
        assert soft >= min(hard, 65_536) or hard == resource.RLIM_INFINITY
        assert asyncio.run(_streams(gateway)) == {"whole": CALLERS}


def test_where_files_are_few_callers_are_told_to_come_again(upstream: ScriptedUpstream, tmp_path: Path):
    with running(tmp_path, settings(upstream), under=("sh", "-c", 'ulimit -n 320; exec "$0" "$@"')) as gateway:
        seen = asyncio.run(_streams(gateway))
        assert "64 are taken at once" in gateway.log_text
        assert set(seen) == {"whole", "503 True True"}, seen
        assert 50 <= seen["whole"] <= 64
        assert gateway.chat(model="lan:a").status == 200  # and the model's circuit never opened
        assert "left alone" not in gateway.log_text
