"""The application behind the real front door, over real HTTP, with a real log and a decision stage that is scripted."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stores.entries import decision

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Decision
from pointsman.core.knock import Knock
from pointsman.core.ports import Health, SystemClock
from pointsman.core.request import ChatRequest
from pointsman.pipeline.admit import Access
from pointsman.pipeline.admit.limits import BucketRule, Limits
from pointsman.pipeline.admit.tiers import Tier, Tiers
from pointsman.pipeline.decide import RulePolicy
from pointsman.pipeline.record import FeedbackStage, Tally
from pointsman.stores.keys import KeyStore
from pointsman.stores.memory_state import MemoryState
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.surfaces.asgi_app import build_asgi_app
from pointsman.surfaces.entry import Entry
from pointsman.surfaces.services import Services
from pointsman.transport.asgi import AsgiBridge
from pointsman.transport.server import serve

KEYS = {"alice": "sk-alice", "bob": "sk-bob"}

CARDS = (
    ModelCard(
        id="lan:org/llama 3.1:8b", provider="lan", name="org/llama 3.1:8b", local=True, context_window=8192,
        capabilities=frozenset({"chat", "tools"}), price_input=0, price_output=0, parameters="8B",
    ),
    ModelCard(
        id="openai:gpt-4o", provider="openai", name="gpt-4o", context_window=128_000, max_output=16_384,
        capabilities=frozenset({"chat", "vision"}), price_input=2_500_000, price_cached_input=1_250_000,
        price_output=10_000_000, strengths=("code",),
    ),
    ModelCard(id="openai:unknown", provider="openai", name="unknown", routable=False),
)  # fmt: skip


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """The running application, and plain HTTP to talk to it."""

    port: int
    log: SqliteDecisionLog
    database_path: Path
    decide: Callable[[ChatRequest, Caller], Decision] = lambda request, caller: decision(
        requested_model=request.model, key_id=caller.key_id
    )
    health: dict[str, Health] = field(default_factory=dict)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str | None = "alice",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        sent = {"authorization": f"Bearer {KEYS[who]}"} if who is not None else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if method == "POST":
            sent["content-type"] = "application/json"
        return await asyncio.to_thread(self._ask, method, path, body, {**sent, **(headers or {})})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            assert len(fields) == len(answer.getheaders()), "a header was sent twice"
            return Reply(answer.status, fields, answer.read())
        finally:
            connection.close()


def key_id(who: str) -> str:
    """The id under which a key's decisions are logged."""
    access = _access(KEYS.values())
    knock = Knock(method="GET", path="/v1/models", endpoint="models", host=b"localhost", api_key=KEYS[who].encode())
    caller = access.check(knock)
    assert caller.key_id is not None
    return caller.key_id


def _access(keys: Any) -> Access:
    return Access(api_keys=list(keys), hosts=[], origins=[], any_host=False)


async def _running(path: Path, keys: Any) -> AsyncIterator[Api]:
    log = SqliteDecisionLog(path)
    await log.open()
    api = Api(0, log, path, health={"lan": Health(ok=True, detail="1 model")})

    class Source:
        catalog = Catalog(CARDS, {"fast": "lan:org/llama 3.1:8b"})

    async def health() -> dict[str, Health]:
        return api.health

    limits = Limits(
        state=MemoryState(),
        tiers=Tiers({"free": Tier(per_minute=500, priority="low")}, "free"),
        buckets={"usage": BucketRule(burst=400, per_minute=400.0)},
        open_when_away=False,
    )
    database = SqliteDatabase(path)
    services = Services(
        catalog=Source(),
        log=log,
        feedback=FeedbackStage(log=log, clock=SystemClock()),
        decide=lambda request, caller, wishes: api.decide(request, caller),
        providers_health=health,
        limits=limits.report,
        state_health=MemoryState().health,
        keys=KeyStore(database, SecretKey(b"a secret of the test's own"), SystemClock(), tiers=["free"]),
        tally=Tally(),
        policy=RulePolicy,
        unhealthy=dict,
        equivalents=lambda card: card.equivalents,
        version="1.2.3",
        started_at=1_700_000_000.5,
        clock=SystemClock(),
    )
    bridge = AsgiBridge(lambda: build_asgi_app(services))
    server = await serve(Entry(access=_access(keys), hot={}, asgi=bridge, charge=limits), host="127.0.0.1", port=0)
    api.port = server.port
    yield api
    await server.close(1)
    await bridge.close()
    await database.close()
    await log.close()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A gateway with two keys, neither of which is an admin's."""
    async for api in _running(tmp_path / "log.sqlite3", KEYS.values()):
        yield api


@pytest.fixture
async def open_api(tmp_path: Path) -> AsyncIterator[Api]:
    """A gateway on an open loopback port: whoever asks is an admin."""
    async for api in _running(tmp_path / "log.sqlite3", ()):
        yield api
