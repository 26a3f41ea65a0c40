"""Two operating-system processes that count on one Valkey."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import redis

from services import Valkey

SPENDER = """
import asyncio, json, sys
from pointsman.core.shared import Amount, Bucket, Window
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState

async def main(url, prefix, name):
    state = RedisState(Address(url), prefix=prefix, timeout=10)
    await state.seed({"a": 0}, expires_at=state.now() + 600)
    print("ready", flush=True)
    sys.stdin.readline()
    amounts = [Amount(total="a", micro_usd=7, cap_micro_usd=350)]
    limits = [Bucket(key="b", capacity=60, refill=1e-6), Window(key="w", limit=50, seconds=10**9)]
    reserved = asyncio.gather(*(state.reserve(f"{name}-{n}", amounts, lease_seconds=600) for n in range(250)))
    taken = asyncio.gather(*(state.take(limits) for _ in range(250)))
    reserved, taken = await reserved, await taken
    print(json.dumps([sum(r.ok for r in reserved), max(r.totals["a"] for r in reserved), sum(t.ok for t in taken)]))
    await state.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_gateway_that_shares_nothing_loads_no_redis() -> None:
    code = (
        "import sys; from pointsman import app, settings; from pointsman.app.state import build_state;"
        "build_state(settings.load(environ={})); sys.exit('redis' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_five_hundred_of_two_processes_at_once_against_caps_for_fifty(valkey_server: Valkey) -> None:
    prefix = uuid.uuid4().hex
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, valkey_server.url, prefix, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    reserved, highest, taken = zip(*(json.loads(answer) for answer in answers), strict=True)
    assert sum(reserved) == 50
    assert max(highest) == 350
    assert sum(taken) == 50
    with redis.Redis(port=valkey_server.port) as client:
        run = client.info("server")["run_id"]
        assert int(client.get(f"{{{prefix}}}:t:{run}:a")) == 350
        assert client.hlen(f"{{{prefix}}}:reservations:{run}") == 50
