"""Keys in memory: who is admitted, at what cost, and what scopes forbid."""

from __future__ import annotations

import asyncio
import hmac

import pytest

from pointsman.core.caller import Caller, Scopes
from pointsman.core.errors import Forbidden, Unauthenticated
from pointsman.core.keys import (
    LOCAL_SECONDS,
    Digests,
    KeysUnavailable,
    Known,
    LiveSecret,
    is_local,
    mint_local,
    new_token,
    prefix_of,
)
from pointsman.core.knock import Knock
from pointsman.pipeline.admit import Access, KeyDirectory
from pointsman.pipeline.admit import keys as admitting
from pointsman.pipeline.understand.detectors import Detectors

DIGEST = Digests(b"k" * 32)


class Clock:
    time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Source:
    """What a store would tell."""

    def __init__(self) -> None:
        self.secrets: list[LiveSecret] = []
        self.at: dict[str, float] = {}

    def add(self, *, role="member", expires_at=None, **bounds) -> str:
        token = new_token()
        self.secrets.append(
            LiveSecret(
                prefix=prefix_of(token.encode()), digest=DIGEST(token.encode()), key_id=f"key_{len(self.secrets)}",
                role=role, scopes=Scopes(**bounds), expires_at=expires_at,
            )
        )  # fmt: skip
        return token

    async def known(self) -> Known:
        return Known(secrets=self.secrets, keys=len(self.secrets))

    async def used(self, at) -> None:
        self.at |= at


class Stand:
    """A directory, and the front door before it."""

    def __init__(self, *, age: float = 0.0, **access) -> None:
        self.source, self.clock, self.age = Source(), Clock(), age
        self.directory = KeyDirectory(
            self.source, digest=DIGEST, clock=self.clock, age=lambda: self.age, stale_grace=300
        )
        self.access = Access(
            **{"api_keys": [], "hosts": [], "origins": [], "any_host": False, **access}, directory=self.directory
        )

    def load(self) -> None:
        asyncio.run(self.directory.reload())

    def ask(self, token: str | None = None, **knock) -> Caller:
        fields = {
            "method": "GET", "path": "/v1/models", "endpoint": "models", "host": b"localhost", "peer": "127.0.0.1",
            "content_type": b"application/json", **knock,
        }  # fmt: skip
        if token is not None:
            fields["authorization"] = f"Bearer {token}".encode()
        return self.access.check(Knock(**fields))


def test_a_key_is_found_by_its_prefix_and_proved_by_its_hash():
    stand = Stand()
    tokens = [stand.source.add() for _ in range(20)]
    stand.load()
    assert [stand.ask(token).key_id for token in tokens] == [f"key_{place}" for place in range(20)]
    mixed = tokens[0][:12] + tokens[1][12:]
    for wrong in (mixed, tokens[0][:-1], tokens[0] + "A", tokens[0].upper(), new_token(), "pm_", "x" * 9000):
        with pytest.raises(Unauthenticated):
            stand.ask(wrong)


def test_every_comparison_takes_constant_time(monkeypatch):
    """Whether the prefix is known or not, one digest is compared with another of its length."""
    stand = Stand()
    token = stand.source.add()
    stand.load()
    seen = []

    class Watched:
        @staticmethod
        def compare_digest(one, other):
            seen.append((len(one), len(other)))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(admitting, "hmac", Watched)
    for asked in (token, token[:-1] + ("A" if token[-1] != "A" else "B"), new_token()):
        stand.directory.admit(asked.encode(), None)
    assert seen == [(32, 32)] * 3


def test_time_ends_a_key_without_a_reload():
    stand = Stand()
    token = stand.source.add(expires_at=1010.0)
    stand.load()
    stand.ask(token)
    stand.clock.time = 1010.0
    with pytest.raises(Unauthenticated) as refused:
        stand.ask(token)
    assert refused.value.code == "expired_api_key"


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("2001:db8::1", True), ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False), ("2001:db9::1", False), (None, False), ("unix", False),
    ],
)  # fmt: skip
def test_networks(peer, admitted):
    stand = Stand()
    token = stand.source.add(networks=("10.0.0.0/8", "2001:db8::/32"))
    stand.load()
    if admitted:
        stand.ask(token, peer=peer)
        return
    with pytest.raises(Forbidden) as refused:
        stand.ask(token, peer=peer)
    assert refused.value.code == "network_not_allowed"


def test_what_is_known_too_long_ago_admits_nobody():
    """Stored keys are refused; those of the settings do not hang on the database."""
    stand = Stand(api_keys=["configured"])
    token = stand.source.add()
    with pytest.raises(KeysUnavailable):  # nothing was read yet
        stand.ask(token)
    stand.load()
    stand.age = 300.0
    stand.ask(token)
    stand.age = 300.1
    with pytest.raises(KeysUnavailable) as refused:
        stand.ask(token)
    assert refused.value.status == 503
    stand.ask("configured")


def test_an_open_port_closes_with_the_first_key_and_stays_closed():
    stand = Stand()
    with pytest.raises(Unauthenticated):  # whether there are keys is not known yet
        stand.ask()
    stand.load()
    assert stand.ask().admin
    stand.source.add()
    stand.load()
    with pytest.raises(Unauthenticated):
        stand.ask()
    stand.source.secrets.clear()
    stand.load()
    with pytest.raises(Unauthenticated):
        stand.ask()


def test_users_close_the_port_too():
    stand = Stand(occupied=lambda: True)
    stand.load()
    with pytest.raises(Unauthenticated):
        stand.ask()


def test_a_wide_port_never_opens():
    stand = Stand(may_be_open=False, any_host=True)
    stand.load()
    with pytest.raises(Unauthenticated):
        stand.ask()


def test_endpoints_and_roles():
    stand = Stand()
    chat, viewer, admin = (
        stand.source.add(endpoints=("chat",)),
        stand.source.add(role="viewer"),
        stand.source.add(role="admin"),
    )
    member = stand.source.add()
    stand.load()
    post = {"method": "POST", "endpoint": "chat", "path": "/v1/chat/completions"}
    stand.ask(chat, **post)
    with pytest.raises(Forbidden, match="only for chat"):
        stand.ask(chat)
    with pytest.raises(Forbidden, match="viewer"):
        stand.ask(viewer, **post)
    stand.ask(viewer)
    for token in (chat, viewer, member):
        with pytest.raises(Forbidden):
            stand.ask(token, endpoint="admin", path="/api/v1/keys")
    assert stand.ask(admin, endpoint="admin", path="/api/v1/keys").role == "admin"


def test_every_way_to_send_a_key():
    stand = Stand(api_keys=["a key&with=signs%"])
    token = stand.source.add()
    stand.load()
    assert stand.ask(query=b"api_key=" + token.encode()).key_id == "key_0"
    assert stand.ask(query=b"x=1&api_key=" + token.replace("_", "%5f").encode()).key_id == "key_0"
    assert stand.ask(query=b"api_key=a%20key%26with%3Dsigns%25").key_id is not None
    assert stand.ask(api_key=token.encode()).key_id == "key_0"
    assert stand.ask(token, query=b"api_key=" + token.encode(), api_key=token.encode()).key_id == "key_0"
    assert stand.ask(token, query=b"my_api_key=other&api_keys=2").key_id == "key_0"


@pytest.mark.parametrize(
    "sent",
    [
        {"authorization": b"Bearer other"},
        {"api_key": b"other"},
        {"api_key": b""},
        {"query": b"api_key=other"},
        {"query": b"api_key="},
        {"query": b"api_key=TOKEN&api_key=other"},
        {"query": b"api_key=\xff%ff"},
    ],
)
def test_keys_that_differ_are_refused(sent):
    stand = Stand()
    token = stand.source.add()
    stand.load()
    sent = {name: value.replace(b"TOKEN", token.encode()) for name, value in sent.items()}
    with pytest.raises(Unauthenticated) as refused:
        stand.ask(**{"api_key": token.encode(), "authorization": f"Bearer {token}".encode(), **sent})
    assert refused.value.code == "several_api_keys"
    assert token not in refused.value.message


class Signed:
    """Sessions of one token."""

    def caller(self, token: str) -> Caller | None:
        return Caller(user_id="user_1", admin=False, role="member") if token == "session" else None

    def csrf_ok(self, token: str, header: bytes | None) -> bool:
        return header == b"csrf of " + token.encode()


def test_sessions():
    stand = Stand(sessions=Signed(), occupied=lambda: True)
    token = stand.source.add()
    stand.load()
    cookie = b"other=1; pointsman_session=session"
    post = {"method": "POST", "endpoint": "chat", "path": "/v1/chat/completions"}
    assert stand.ask("session").user_id == "user_1"
    assert stand.ask(cookie=cookie).user_id == "user_1"
    assert stand.ask(cookie=cookie, csrf=b"csrf of session", **post).user_id == "user_1"
    assert stand.ask("session", **post).user_id == "user_1", "a Bearer is not sent by a browser of its own accord"
    for csrf in (None, b"", b"csrf of other"):
        with pytest.raises(Forbidden) as refused:
            stand.ask(cookie=cookie, csrf=csrf, **post)
        assert refused.value.code == "csrf_token_invalid"
    for wrong in (b"pointsman_session=", b"pointsman_session=x", b"pointsman_session=session; pointsman_session=x"):
        with pytest.raises(Unauthenticated):
            stand.ask(cookie=wrong)
    assert stand.ask(token, cookie=cookie).key_id == "key_0", "what is sent on purpose comes first"
    with pytest.raises(Unauthenticated):
        stand.ask("wrong", cookie=cookie)


def test_public_paths_take_forms_from_anybody_and_give_nothing():
    stand = Stand(public=["/sign-in", "/oauth/"], occupied=lambda: True)
    stand.load()
    form = {"method": "POST", "content_type": b"application/x-www-form-urlencoded"}
    for path in ("/sign-in", "/oauth/token"):
        assert stand.ask(path=path, **form).role == "anonymous"
        with pytest.raises(Forbidden):
            stand.ask(path=path, origin=b"https://evil.example", **form)
    for path in ("/sign-in/x", "/oauth", "/"):
        with pytest.raises(Unauthenticated):
            stand.ask(path=path)


def test_the_owners_command_line_enters_from_this_machine_alone():
    key = b"s" * 32
    stand = Stand(is_local_admin=lambda token: is_local(key, token, port=8000, now=stand.clock.time))
    stand.source.add()
    stand.load()
    token = mint_local(key, port=8000, now=stand.clock.time)
    assert stand.ask(token).admin
    assert stand.ask(token, peer="::1").admin
    assert stand.ask(token, peer="::ffff:127.0.0.1").admin
    for peer in ("192.0.2.1", None, "127.0.0.1.evil"):
        with pytest.raises(Unauthenticated):
            stand.ask(token, peer=peer)
    for other in (mint_local(key, port=8001, now=1000.0), mint_local(b"t" * 32, port=8000, now=1000.0), token[:-2]):
        with pytest.raises(Unauthenticated):
            stand.ask(other)
    stand.clock.time += LOCAL_SECONDS + 1
    with pytest.raises(Unauthenticated):
        stand.ask(token)


def test_last_use_is_written_in_one_go():
    stand = Stand()
    tokens = [stand.source.add() for _ in range(3)]
    stand.load()
    for token in tokens[:2] * 5:
        stand.ask(token)
    assert stand.source.at == {}
    asyncio.run(stand.directory.flush())
    assert stand.source.at == {"key_0": 1000.0, "key_1": 1000.0}


def test_every_token_is_private_content():
    """In a prompt it stays on the machine, whatever its letters happen to spell."""
    detectors = Detectors()
    tokens = [new_token() for _ in range(500)] + [mint_local(b"k" * 32, port=n, now=n * 1e6) for n in range(100)]
    assert [token for token in tokens if "pointsman_key" not in detectors.find(f"it is {token}, keep it")] == []
