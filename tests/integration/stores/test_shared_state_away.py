"""What happens when Redis or Valkey is not there, is slow, full, forgetful or strict."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import re
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from pointsman.core.shared import Amount, Bucket, StateUnavailable, Window
from pointsman.stores.redis_link import Address
from pointsman.stores.redis_state import RedisState
from services import Valkey, free_port, valkey

LIMIT = Window(key="w", limit=1_000_000, seconds=86_400)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def own() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
async def state(own: Valkey) -> AsyncIterator[RedisState]:
    state = RedisState(Address(own.url), timeout=2)
    yield state
    await state.close()


async def back(state: RedisState) -> float:
    """Seconds until it answers again."""
    begun = time.monotonic()
    while True:
        try:
            await state.take([LIMIT])
        except StateUnavailable:
            assert time.monotonic() - begun < 30
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - begun


async def refused(state: RedisState) -> tuple[str, float]:
    """Why a take is refused, and after how many seconds."""
    begun = time.monotonic()
    with pytest.raises(StateUnavailable) as caught:
        await state.take([LIMIT])
    return caught.value.message, time.monotonic() - begun


async def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    state = RedisState(Address(f"redis://me:hushhush@127.0.0.1:{port}/3"), timeout=2)
    await state.open()
    message, _ = await refused(state)
    assert f"redis://127.0.0.1:{port}/3 cannot be reached" in message
    assert "REDIS_URL" in message
    health = await state.health()
    assert not health.ok
    assert str(port) in health.detail
    assert "hushhush" not in message + caplog.text + repr(state) + health.detail
    assert caplog.text.count("when_state_is_away") == 1
    await state.close()


async def test_it_comes_back_within_a_second(own: Valkey, state: RedisState, caplog: pytest.LogCaptureFixture) -> None:
    await state.take([LIMIT])
    own.kill()
    await refused(state)
    own.start()
    assert await back(state) < 5  # 0.2 s when the machine is not busy
    assert caplog.text.count("when_state_is_away") == 1, "said once"
    assert [record.levelno for record in caplog.records if record.name.startswith("pointsman")] == [logging.WARNING]


async def test_a_server_that_hangs_holds_up_one_step_alone(own: Valkey) -> None:
    state = RedisState(Address(own.url), timeout=0.5)
    await state.take([LIMIT])
    own.freeze()
    begun = time.monotonic()
    results = await asyncio.gather(*(state.take([LIMIT]) for _ in range(300)), return_exceptions=True)
    assert all(isinstance(result, StateUnavailable) for result in results)
    assert 0.4 < time.monotonic() - begun < 5
    message, seconds = await refused(state)
    assert "did not answer within 0.5 s" in message
    assert seconds < 0.2, "the others do not wait for it"
    own.thaw()
    assert await back(state) < 5
    await state.close()


async def test_a_process_that_was_held_up_blames_nobody(own: Valkey) -> None:
    state = RedisState(Address(own.url), timeout=0.2)
    await state.take([LIMIT])
    for _ in range(3):
        task = asyncio.create_task(state.take([LIMIT]))
        for _ in range(5):  # it is sent by now
            await asyncio.sleep(0)
        time.sleep(0.4)  # the answer is there, and nobody could read it
        assert (await task).ok
    await state.close()


async def test_an_address_that_swallows_everything(tmp_path: Path) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        state = RedisState(Address(f"redis://:hush@127.0.0.1:{port}"), timeout=0.2)
        message, seconds = await refused(state)
        assert "did not answer within 0.2 s" in message
        assert seconds < 5
        await state.close()


async def test_no_redis_at_all() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        state = RedisState(Address(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"), timeout=2)
        assert "cannot be" in (await refused(state))[0]
        await state.close()


@pytest.mark.parametrize("persist", [False, True])
async def test_killed_in_the_middle_of_a_load(persist: bool) -> None:
    """The cap holds, though the server comes back with a snapshot of long ago: its sums count for nothing, and whoever
    keeps the books seeds them anew."""
    with valkey(persist=persist) as server:
        states = [RedisState(Address(server.url), timeout=2) for _ in range(2)]
        booked: set[str] = set()  # what a ledger would hold: written before a reservation is asked for
        told: dict[str, bool] = {}
        stop = asyncio.Event()
        amounts = [Amount(total="a", micro_usd=3, cap_micro_usd=2_400)]

        async def spend(worker: int) -> None:
            number, state = 0, states[worker % 2]
            while not stop.is_set():
                number += 1
                name = f"{worker}-{number}"
                booked.add(name)
                with contextlib.suppress(StateUnavailable):
                    while (found := await state.reserve(name, amounts, lease_seconds=60)).unseeded:
                        await state.seed({"a": 3 * len(booked)}, expires_at=time.time() + 3_600)
                    told[name] = found.ok
                if not told.get(name):
                    booked.discard(name)
                    await asyncio.sleep(0.01)

        async def told_at_least(count: int) -> None:
            async with asyncio.timeout(30):
                while len(told) < count:
                    await asyncio.sleep(0.001)

        workers = [asyncio.create_task(spend(number)) for number in range(20)]
        await told_at_least(100)
        if not persist:
            with redis.Redis(port=server.port) as client:
                client.save()
        await told_at_least(500)
        server.kill()
        server.start()
        await told_at_least(1_500)
        stop.set()
        await asyncio.gather(*workers)
        passed = sum(told.values())
        assert 700 <= passed <= 800, "a doubt may leave some of it unused, never more than all of it used"
        for state in states:  # one may have been quicker to notice than the other
            await back(state)
        assert await states[0].totals(["a"]) == await states[1].totals(["a"])
        assert (await states[0].reserve("late", amounts, lease_seconds=60)).refused == "a"
        for state in states:
            await state.close()


async def test_a_flushed_server_has_to_be_seeded_anew(own: Valkey, state: RedisState) -> None:
    amounts = [Amount(total="a", micro_usd=1), Amount(total="b", micro_usd=1)]
    await state.seed({"a": 0, "b": 0}, expires_at=time.time() + 60)
    assert (await state.reserve("r", amounts, lease_seconds=60)).ok
    with redis.Redis(port=own.port) as client:
        client.flushall()
    assert not await state.settle("r", {"a": 1})
    assert (await state.reserve("s", amounts, lease_seconds=60)).unseeded == ("a", "b")
    assert await state.take_lapsed() == []


async def test_scripts_that_the_server_forgot_are_sent_again(own: Valkey, state: RedisState) -> None:
    await state.take([LIMIT])
    with redis.Redis(port=own.port) as client:
        client.script_flush()
        results = await asyncio.gather(*(state.take([LIMIT]) for _ in range(50)))
        assert [result.standings[0].remaining for result in results] == list(range(999_998, 999_948, -1))
        client.script_flush()
        await state.seed({"a": 0}, expires_at=time.time() + 60)
        assert (await state.reserve("r", [Amount(total="a", micro_usd=1)], lease_seconds=60)).ok


async def test_a_connection_that_the_server_closed_is_made_anew(own: Valkey, state: RedisState) -> None:
    await state.take([LIMIT])
    with redis.Redis(port=own.port) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    assert (await state.take([LIMIT])).ok


async def test_who_goes_away_disturbs_nobody(own: Valkey, state: RedisState) -> None:
    await state.take([LIMIT])
    tasks = [asyncio.create_task(state.take([LIMIT])) for _ in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert all(result.ok for result in results[1::2] if not isinstance(result, BaseException))
    assert not any(isinstance(result, BaseException) for result in results[1::2])


async def test_a_key_that_holds_something_else(own: Valkey, state: RedisState) -> None:
    await state.seed({"a": 0}, expires_at=time.time() + 60)
    with redis.Redis(port=own.port) as client:
        run = client.info("server")["run_id"]
        client.lpush(f"{{pointsman}}:t:{run}:b", "x")
        client.set(f"{{pointsman}}:t:{run}:c", "much")
        client.set("{pointsman}:b:odd", "much")
    for total in ("b", "c"):
        with pytest.raises(StateUnavailable, match=r"state\.prefix"):
            await state.reserve(
                "r", [Amount(total="a", micro_usd=1), Amount(total=total, micro_usd=1)], lease_seconds=9
            )
        with pytest.raises(StateUnavailable):
            await state.adjust({"a": 5, total: 5})
    with pytest.raises(StateUnavailable, match="holds something else"):
        await state.take([LIMIT, Bucket(key="odd", capacity=1, refill=1)])
    assert await state.totals(["a"]) == {"a": 0}, "nothing was raised"
    assert (await state.take([LIMIT])).standings[0].remaining == 999_999, "the others go on"


async def test_a_full_server(own: Valkey, state: RedisState) -> None:
    await state.seed({"a": 5}, expires_at=time.time() + 60)
    with redis.Redis(port=own.port) as client:
        client.config_set("maxmemory", 1)
        message, _ = await refused(state)
        assert "maxmemory" in message
        with pytest.raises(StateUnavailable, match="maxmemory"):
            await state.reserve("r", [Amount(total="a", micro_usd=1)], lease_seconds=9)
        assert await state.totals(["a"]) == {"a": 5}, "what is read goes on"
        client.config_set("maxmemory", 0)
    assert (await state.take([LIMIT])).ok


async def test_a_replica_cannot_count(own: Valkey, state: RedisState) -> None:
    await state.take([LIMIT])
    with redis.Redis(port=own.port) as client:
        client.replicaof("127.0.0.1", 1)
        assert "primary" in (await refused(state))[0]
        client.replicaof("NO", "ONE")
    await back(state)


async def test_users_and_passwords(own: Valkey) -> None:
    with redis.Redis(port=own.port) as client:
        client.acl_setuser(
            "counter",
            enabled=True,
            passwords=["+s3cr@t/"],
            keys=["{ours}:*"],
            categories=["+@all", "-@admin", "-@dangerous"],
        )
        client.config_set("requirepass", "hush:hush")
    place = f"127.0.0.1:{own.port}"
    for url, password, prefix in (
        (f"redis://counter:s3cr%40t%2F@{place}", None, "ours"),
        (f"redis://counter@{place}", "s3cr@t/", "ours"),
        (f"redis://:hush%3Ahush@{place}/2", "ignored", "pointsman"),
        (f"valkey://{place}", "hush:hush", "pointsman"),
    ):
        state = RedisState(Address(url, password), prefix=prefix, timeout=2)
        assert (await state.take([LIMIT])).ok
        assert (await state.health()).ok, "though INFO and CONFIG are forbidden"
        await state.close()
    for url, prefix, why in (
        (f"redis://:wrongwrong@{place}", "pointsman", "REDIS_PASSWORD"),
        (f"redis://{place}", "pointsman", "REDIS_PASSWORD"),
        (f"redis://counter:s3cr%40t%2F@{place}", "theirs", "forbids"),
    ):
        state = RedisState(Address(url), prefix=prefix, timeout=2)
        message, _ = await refused(state)
        assert why in message
        assert "wrongwrong" not in message
        assert "s3cr" not in message
        await state.close()


def documented_commands() -> list[str]:
    """What the how-to grants a user of ours."""
    page = Path(__file__).parents[3] / "docs/how-to/shared-stores.md"
    line = next(line for line in page.read_text().splitlines() if "ACL SETUSER" in line)
    assert "~{pointsman}:*" in line
    return re.findall(r"\+[a-z|]+", line)


async def test_the_permissions_of_the_how_to_are_enough(own: Valkey) -> None:
    with redis.Redis(port=own.port) as client:
        client.acl_setuser("pointsman", enabled=True, passwords=["+x"], keys=["{pointsman}:*"],
                           commands=documented_commands())  # fmt: skip
    state = RedisState(Address(f"redis://pointsman:x@127.0.0.1:{own.port}/1"), timeout=2)
    assert (await state.take([LIMIT, Bucket(key="b", capacity=2, refill=1)])).ok
    await state.charge([LIMIT, Bucket(key="b", capacity=2, refill=1, cost=-2)])
    await state.seed({"a": 1}, expires_at=state.now() + 60)
    for name in ("r", "s"):
        assert (await state.reserve(name, [Amount(total="a", micro_usd=1)], lease_seconds=0)).ok
    assert await state.settle("r", {"a": 1})
    await state.adjust({"a": 1})
    assert await state.totals(["a"]) == {"a": 4}
    assert len(await state.take_lapsed()) == 1
    assert await state.once("n", seconds=9)
    assert await signed(state, "n") == "first"
    health = await state.health()
    assert health.ok
    assert "noeviction" in health.detail
    await state.close()


async def test_a_unix_socket_and_a_database_of_its_own(own: Valkey) -> None:
    state = RedisState(Address(f"unix://{own.socket}?db=5"), timeout=2)
    assert (await state.take([LIMIT])).ok
    assert str(own.socket) in (await state.health()).detail
    await state.close()
    with redis.Redis(port=own.port, db=5) as client:
        assert client.dbsize() == 2  # the window, and the probe
    own.kill()
    own.socket.unlink(missing_ok=True)
    state = RedisState(Address(f"unix://{own.socket}"), timeout=2)
    assert str(own.socket) in (await refused(state))[0]
    await state.close()


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for localhost, in one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_tls(own: Valkey, tmp_path: Path) -> None:
    """The wheel's server has no TLS, so a relay in front of it has."""
    pem = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    relays: set[asyncio.Task[None]] = set()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", own.port)
        for ends in ((reader, back), (there, writer)):
            relays.add(asyncio.create_task(pour(*ends)))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    state = RedisState(Address(f"rediss://localhost:{port}?ssl_ca_certs={pem}"), timeout=5)
    assert (await state.take([LIMIT])).ok
    assert f"rediss://localhost:{port}" in (await state.health()).detail
    await state.close()
    state = RedisState(Address(f"rediss://localhost:{port}"), timeout=5)
    assert "certificate verify failed" in (await refused(state))[0].lower()
    await state.close()
    server.close()
    await asyncio.wait(relays, timeout=5)


async def test_a_server_that_may_forget_is_warned_of(own: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    with redis.Redis(port=own.port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        state = RedisState(Address(own.url), timeout=2)
        await state.open()
        assert "allkeys-lru" in caplog.text
        assert "appendonly" in caplog.text
        health = await state.health()
        assert health.ok
        assert "noeviction" in health.mend
        await state.close()
        caplog.clear()


async def test_a_server_that_keeps_everything_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with valkey(persist=True) as server:
        state = RedisState(Address(server.url), timeout=2)
        await state.open()
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        health = await state.health()
        assert re.search(r"(Valkey|Redis) \d", health.detail)
        assert " ms, noeviction" in health.detail
        assert health.mend == ""
        await state.close()


async def test_two_prefixes_share_a_server(own: Valkey) -> None:
    one, other = (RedisState(Address(own.url), prefix=prefix, timeout=2) for prefix in ("a", "a:b"))
    limit = Window(key="w", limit=1, seconds=86_400)
    assert (await one.take([limit])).ok
    assert (await other.take([limit])).ok
    assert not (await one.take([limit])).ok
    await one.close()
    await other.close()


async def test_a_closed_state_refuses(own: Valkey) -> None:
    state = RedisState(Address(own.url), timeout=2)
    waiting = asyncio.create_task(state.take([LIMIT]))
    await asyncio.sleep(0)
    await state.close()
    with pytest.raises(StateUnavailable):
        await waiting
    with pytest.raises(StateUnavailable):
        await state.take([LIMIT])


@pytest.mark.parametrize("url", ["http://host", "host:6379", "", "redis://h:port/0", "redis://h?nonsense=1", "unix://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError):
        Address(url, uuid.uuid4().hex)


@pytest.mark.parametrize("how", ["restarted", "emptied"])
async def test_a_server_that_may_have_forgotten_says_since_when_it_remembers(own: Valkey, how: str) -> None:
    state = RedisState(Address(own.url), timeout=2)
    assert await signed(state, "n") == "first"
    first = state.once_since()
    assert abs(first - state.now()) < 30
    assert await signed(state, "n") == "again"
    assert state.once_since() == first
    if how == "restarted":
        own.restart()
    else:
        with redis.Redis(port=own.port) as client:
            client.flushall()
    await eventually_again(state)
    assert state.once_since() > first
    await state.close()


async def signed(state: RedisState, name: str) -> str:
    return await state.once_of("key", name, at=int(state.now()), seconds=60, most=100)


async def eventually_again(state: RedisState) -> None:
    """Wait until the server answers a step."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StateUnavailable):
                await signed(state, "another")
                return
            await asyncio.sleep(0.05)
