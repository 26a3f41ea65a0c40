"""Several servers behind one provider: who is asked, who steps in, and what is known of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest
from provider_calls import QUICK, call_for, card, events_of, text_of

from pointsman.core.credential import Credential
from pointsman.core.errors import ModelNotFound, PrivacyWall, UpstreamBroken, UpstreamConnectError, UpstreamStatus
from pointsman.core.ports import Timeouts
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.ollama import Ollama
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.providers.pool import Instance, OllamaLook, OpenAILook, Pool
from pointsman.testing import Answer, HangUp, Page, Pulling, ScriptedUpstream, Stall, Status
from pointsman.testing.answers import SeenRequest, Wire
from pointsman.transport.pool import Pool as Connections

# The token tables' package opens its data in a way that Python 3.11 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")

SHOWN = {"model_info": {"l.context_length": 8192}, "capabilities": ["completion"]}


@pytest.fixture
async def servers() -> AsyncIterator[list[ScriptedUpstream]]:
    """Two Ollamas that name themselves in their answers; both have `m`."""
    found = []
    for letter in "ab":
        server = ScriptedUpstream(default=Answer(text=letter), models=("m:1b",))
        server.shows = {"m:1b": SHOWN, "other:1b": SHOWN, "fresh:1b": SHOWN}
        await server.listen()
        found.append(server)
    yield found
    for server in found:
        await server.refuse()


def ollamas(servers, connections: Connections, *, slots: tuple[int, ...] = (1, 1), local: bool = True) -> Pool:
    instances = []
    for server, room in zip(servers, slots, strict=True):
        one = Ollama("lab", base_url=server.root, outbound=connections, local=local)
        instances.append(Instance(one, url=server.root, slots=room, look=OllamaLook(one.library), library=one.library))
    return Pool("lab", instances)


def vllms(servers, connections: Connections, **settings) -> Pool:
    instances = []
    for server in servers:
        one = OpenAICompatible("gpus", base_url=server.base_url, outbound=connections, local=True, **settings)
        look = OpenAILook(one, named=bool(settings.get("models")), deployments=settings.get("deployments", {}))
        instances.append(Instance(one, url=server.root, look=look))
    return Pool("gpus", instances)


def holding(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "model": name} for name in names]


async def asked(pool: Pool, name: str = "m:1b", **fields) -> str:
    return text_of(await events_of(pool, call_for(card(name, provider=pool.name, local=True), **fields)))


async def test_equals_take_turns(servers, pool):
    lab = ollamas(servers, pool)
    [found] = await lab.discover()
    assert (found.id, found.local, found.context_window) == ("lab:m:1b", True, 8192)
    talk = [[{"role": "user", "content": f"question {number}"}] for number in range(6)]
    for server in servers:
        server.loaded = holding("m:1b")
    await lab.discover()
    assert [await asked(lab, messages=messages) for messages in talk] == ["a", "b"] * 3
    assert {standing.loaded for standing in lab.standing()} == {("m:1b",)}


async def test_a_model_in_memory_draws_requests_until_many_wait(servers, pool):
    lab = ollamas(servers, pool)
    servers[1].loaded = holding("m:1b")
    await lab.discover()
    for number in range(3):
        assert await asked(lab, messages=[{"role": "user", "content": f"{number}"}]) == "b"
    servers[1].default = Stall()
    long = Timeouts(connect=1.0, first_byte=30.0, between_bytes=30.0, total=30.0)
    waiting = [
        asyncio.create_task(asked(lab, timeouts=long, messages=[{"role": "user", "content": f"long {number}"}]))
        for number in range(2)
    ]
    await servers[1].wait_until(lambda server: len(server.chats) == 5, timeout=30)
    assert [standing.in_flight for standing in lab.standing()] == [0, 2]
    assert await asked(lab, messages=[{"role": "user", "content": "spilled"}]) == "a"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [standing.in_flight for standing in lab.standing()] == [0, 0]


async def test_more_slots_take_more(servers, pool):
    lab = ollamas(servers, pool, slots=(1, 3))
    for server in servers:
        server.loaded, server.default = holding("m:1b"), Stall()
    await lab.discover()
    long = Timeouts(connect=1.0, first_byte=30.0, between_bytes=30.0, total=30.0)
    waiting = []
    for number in range(8):
        words = [{"role": "user", "content": f"{number}"}]
        waiting.append(asyncio.create_task(asked(lab, timeouts=long, messages=words)))
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        while sum(standing.in_flight for standing in lab.standing()) < 8:
            await asyncio.sleep(0.01)
    assert [standing.in_flight for standing in lab.standing()] == [2, 6]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_conversation_stays_where_it_was(servers, pool):
    lab = ollamas(servers, pool)
    for server in servers:
        server.loaded = holding("m:1b")
    await lab.discover()
    for opening in ("one", "two", "three", "four"):
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": opening}]
        first = await asked(lab, messages=turns)
        for number in range(3):
            turns += [{"role": "assistant", "content": first}, {"role": "user", "content": f"go on {number}"}]
            assert await asked(lab, messages=turns) == first
    assert {request.json["messages"][1]["content"] for request in servers[0].chats} < {"one", "two", "three", "four"}


async def test_a_dead_server_is_passed_over_and_taken_back(servers, pool, caplog):
    lab = ollamas(servers, pool)
    await lab.discover()
    await servers[0].refuse()
    for number in range(4):
        assert await asked(lab, messages=[{"role": "user", "content": f"{number}"}]) == "b"
    standing = lab.standing()
    assert [one.up for one in standing] == [False, True]
    assert "could not be reached" in standing[0].reason
    assert sum("is away" in record.message for record in caplog.records) == 1
    await servers[0].listen()
    assert await asked(lab) == "b"  # nobody has looked yet
    await lab.discover()
    assert [one.up for one in lab.standing()] == [True, True]
    assert "a" in {await asked(lab, messages=[{"role": "user", "content": f"anew {number}"}]) for number in range(2)}


async def test_the_decision_is_told_that_another_stepped_in(servers, pool):
    lab = ollamas(servers, pool)
    await lab.discover()
    for server in servers:
        server.script(Status(503, b'{"error":"server busy"}'))
    with pytest.raises(UpstreamStatus) as refused:
        await asked(lab)
    assert refused.value.upstream_status == 503
    assert [len(server.chats) for server in servers] == [1, 1]  # nobody twice
    servers[0].script(Status(404, b'{"error":"model not found"}'))
    servers[1].script(Status(503))
    lab = ollamas(servers, pool)
    await lab.discover()
    servers[1].reset()
    [event] = await events_of(lab, call_for(card("m:1b", provider="lab", local=True)))
    assert event.note == "pool: 2 instances were asked, the last one answered"
    assert [one.models for one in lab.standing()] == [0, 1]  # it has not the model after all


async def test_what_has_begun_is_not_begun_again(servers, pool):
    lab = ollamas(servers, pool)
    await lab.discover()
    for fault in (HangUp(after_bytes=900, answer=Answer(text="a long answer " * 30)), Status(500)):
        for server in servers:
            server.reset()
            server.script(fault)
        with pytest.raises((UpstreamBroken, UpstreamStatus)):
            await asked(lab, stream=True)
        assert sum(len(server.chats) for server in servers) == 1
    # Who failed with an error of its own is asked last for a while.
    alive = next(server for server in servers if not server.chats)
    before = len(alive.chats)
    alive.reset()
    for number in range(4):
        await asked(lab, messages=[{"role": "user", "content": f"{number}"}])
    assert (before, len(alive.chats)) == (0, 4)


async def test_nobody_is_up(servers, pool):
    lab = ollamas(servers, pool)
    await lab.discover()
    for server in servers:
        await server.refuse()
    with pytest.raises(UpstreamConnectError):
        await asked(lab)
    with pytest.raises(UpstreamConnectError, match="None of the 2 instances of lab answers"):
        await lab.discover()
    health = await lab.health()
    assert (health.ok, len(health.instances), "instances" in health.mend) == (False, 2, True)
    for server in servers:
        await server.listen()
    assert await asked(lab) in ("a", "b")  # one is tried all the same, before anybody looks


async def test_models_of_one_server_alone(servers, pool):
    servers[1].models = ("m:1b", "other:1b")
    lab = ollamas(servers, pool)
    keeper = CatalogKeeper([lab])
    await keeper.refresh()
    assert {found.id for found in keeper.catalog} == {"lab:m:1b", "lab:other:1b"}
    for number in range(3):
        assert await asked(lab, "other:1b", messages=[{"role": "user", "content": f"{number}"}]) == "b"
    await servers[1].refuse()
    await keeper.refresh()
    assert {found.id for found in keeper.catalog} == {"lab:m:1b", "lab:other:1b"}
    assert list(keeper.unhealthy()) == ["lab:other:1b"]
    assert servers[1].root in keeper.unhealthy()["lab:other:1b"]
    with pytest.raises(UpstreamConnectError):
        await asked(lab, "other:1b")
    assert not [request for request in servers[0].chats if request.json["model"] == "other:1b"]


async def test_the_catalog_is_built_anew_only_when_something_changed(servers, pool):
    keeper = CatalogKeeper([ollamas(servers, pool)])
    await keeper.refresh()
    before = keeper.catalog
    await keeper.refresh()
    assert keeper.catalog is before
    servers[0].models = ("m:1b", "other:1b")
    await keeper.refresh()
    assert keeper.catalog is not before
    assert "lab:other:1b" in keeper.catalog


async def test_a_pool_is_looked_after_every_few_seconds(servers, pool, monkeypatch):
    monkeypatch.setattr(Pool, "look_seconds", 0.05)
    lab = ollamas(servers, pool)
    keeper = CatalogKeeper([lab])
    try:
        await keeper.start()
        await servers[0].refuse()
        async with asyncio.timeout(60):
            while lab.standing()[0].up:
                await asyncio.sleep(0.01)
            await servers[0].listen()
            while not lab.standing()[0].up:
                await asyncio.sleep(0.01)
    finally:
        await keeper.close()


async def test_every_server_must_keep_private_content(servers, pool):
    """One of them passes the model's requests on to a cloud: the model counts as remote, and the wall stands there."""
    servers[1].tags["m:1b"] = {"remote_host": "https://ollama.com"}
    lab = ollamas(servers, pool)
    [found] = await lab.discover()
    assert found.local is False
    assert (await ollamas(servers[:1], pool, slots=(1,)).discover())[0].local is True
    for number in range(4):  # a decision that was made before, when the model was local
        call = call_for(
            card("m:1b", provider="lab", local=True),
            local_only=True,
            messages=[{"role": "user", "content": f"secret {number}"}],
        )
        with suppress(PrivacyWall):
            await events_of(lab, call)
    assert not servers[1].chats
    assert servers[0].chats
    undeclared = ollamas(servers, pool, local=False)
    [found] = await undeclared.discover()
    assert found.local is False
    with pytest.raises(PrivacyWall):
        await events_of(undeclared, call_for(found, local_only=True))


async def test_what_vllm_tells_of_its_load(servers, pool):
    gauges = (
        b"# TYPE vllm:num_requests_running gauge\n"
        b'vllm:num_requests_running{engine="0",model_name="m"} 6.0\n'
        b'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0\n'
        b'vllm:num_requests_waiting_by_reason{reason="capacity"} 1.0\n'
    )
    servers[0].pages["/metrics"] = Page(gauges, "text/plain")
    servers[1].pages["/metrics"] = Status(404)
    gpus = vllms(servers, pool)
    await gpus.discover()
    assert [one.others for one in gpus.standing()] == [8, 0]
    for number in range(3):
        assert await asked(gpus, messages=[{"role": "user", "content": f"{number}"}]) == "b"
    await gpus.discover()
    assert len([request for request in servers[1].requests if request.path == "/metrics"]) == 1
    servers[0].pages["/metrics"] = Page(gauges.replace(b"6.0", b"0").replace(b"2.0", b"0"), "text/plain")
    await gpus.discover()
    assert [one.others for one in gpus.standing()] == [0, 0]


async def test_named_models_and_deployments(servers, pool):
    servers[0].models, servers[1].models = ("served-a",), ()
    gpus = vllms(servers, pool, models=["coder", "lora"], deployments={"coder": "served-a"})
    assert [found.name for found in await gpus.discover()] == ["coder", "lora"]
    for number in range(3):
        assert await asked(gpus, "coder", messages=[{"role": "user", "content": f"{number}"}]) == "a"
    for server in servers:
        server.pages["/v1/models"] = Status(404)
    gpus = vllms(servers, pool, models=["coder"])
    assert [found.name for found in await gpus.discover()] == ["coder"]
    assert {await asked(gpus, "coder", messages=[{"role": "user", "content": f"{number}"}]) for number in "12"} == {
        "a",
        "b",
    }


async def test_what_is_wrong_with_a_callers_key_is_not_wrong_with_the_server(servers, pool):
    gpus = vllms(servers, pool)
    await gpus.discover()
    for status in (404, 429, 503):
        for server in servers:
            server.reset()
            server.script(Status(status))
        call = call_for(card("m:1b", provider="gpus", local=True), messages=[{"role": "user", "content": f"{status}"}])
        with pytest.raises(UpstreamStatus):
            await events_of(gpus, msgspec.structs.replace(call, credential=Credential(api_key="key-of-a-caller")))
        [sent] = [request for server in servers for request in server.chats]
        assert sent.headers["authorization"] == "Bearer key-of-a-caller"
    for server in servers:
        server.reset()
    assert {await asked(gpus, messages=[{"role": "user", "content": f"ours {number}"}]) for number in "12"} == {
        "a",
        "b",
    }


class AtWork:
    """It ends behind the moments in which an idle connection says that it had been closed."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await asyncio.sleep(0.1)
        wire.hang_up()


@pytest.mark.parametrize("ending", [AtWork(), HangUp(after_bytes=20)], ids=["before the head", "behind it"])
async def test_a_connection_that_ends_ends_the_attempt_and_the_next_goes_elsewhere(servers, pool, ending):
    """Whoever read the request may have worked on it, and the next who reads it may die of it too."""
    gpus = vllms(servers, pool)
    await gpus.discover()
    for server in servers:
        server.reset()
        server.script(ending)
    for asked_by_then in (1, 2):
        with pytest.raises(UpstreamBroken):
            await asked(gpus)
        assert sum(len(server.chats) for server in servers) == asked_by_then
    assert [len(server.chats) for server in servers] == [1, 1]
    assert [one.up for one in gpus.standing()] == [True, True]


async def test_a_silent_server_does_not_hold_up_the_start(servers, pool):
    servers[0].pages["/api/tags"] = Stall()
    lab = ollamas(servers, pool)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert [found.name for found in await lab.discover()] == ["m:1b"]
    assert loop.time() - begun < 4.0  # a look may take 5 s
    assert [one.up for one in lab.standing()] == [False, True]


async def test_a_pull_goes_to_the_one_that_has_least_to_do(servers, pool):
    lab = ollamas(servers, pool)
    await lab.discover()
    lab.instances[0].in_flight = 2
    for server in servers:
        server.pages["/api/pull"] = Pulling(steps=1)
    assert await lab.library.where("fresh:1b") is None
    lines = []
    async for line in lab.library.pull("fresh:1b"):
        servers[1].models = ("m:1b", "fresh:1b")
        lines.append(line.status)
    assert lines[-1] == "success"
    assert [[request.path for request in server.requests].count("/api/pull") for server in servers] == [0, 1]
    assert await lab.library.where("fresh:1b") == servers[1].root
    assert sorted(model.name for model in await lab.library.stored()) == ["fresh:1b", "m:1b"]
    servers[1].pages["/api/pull"] = Pulling(error="pull model manifest: file does not exist")
    with pytest.raises(ModelNotFound):
        async for _ in lab.library.pull("fresh:1b"):
            pass
    await servers[1].refuse()
    lab.instances[0].in_flight = 0
    await lab.discover()
    assert [model.name for model in await lab.library.stored()] == ["m:1b"]


async def test_an_attempt_over_all_servers_keeps_to_its_time(servers, pool):
    lab = ollamas(servers, pool)
    await lab.discover()
    for server in servers:
        server.default = Stall()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Exception, match="took too long"):
        await asked(lab, timeouts=QUICK)
    assert sum(len(server.chats) for server in servers) == 1  # what was waited for once is not waited for again
    assert asyncio.get_running_loop().time() - begun < 4.0
