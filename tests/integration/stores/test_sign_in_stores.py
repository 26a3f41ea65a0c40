"""Users, lockout, sessions and access tokens on both databases."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from pointsman.core.errors import InvalidRequest, NotFound, RateLimited, Unauthenticated
from pointsman.stores.access_tokens import Sessions, caller_for
from pointsman.stores.clients import Clients, OAuthClient, check_redirect_uri
from pointsman.stores.database import Conflict, Database
from pointsman.stores.keyed_hash import KeyedHash
from pointsman.stores.lockout import ACCOUNT_FREE, LONGEST, Lockout, wait_after
from pointsman.stores.passwords import Passwords, check_password
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.sessions import Families
from pointsman.stores.users import Users

PASSWORD = "three wooden horses"
OLD, NEW = SecretKey(b"o" * 32), SecretKey(b"n" * 32)


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class World:
    """Everything over one database, as a gateway with these secrets has it."""

    def __init__(self, database: Database, clock: Time, *secrets: SecretKey, hasher: PasswordHasher | None = None):
        self.database, self.clock, self.age = database, clock, 0.0
        hashed = KeyedHash(secrets, "tokens")
        self.passwords = Passwords(hasher or PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        lockout = Lockout(database, clock, secrets[0].derive("lockout"))
        self.users = Users(database=database, clock=clock, passwords=self.passwords, lockout=lockout, hashed=hashed)
        self.families = Families(database=database, clock=clock, hashed=hashed, lifetime=86_400.0)
        self.clients = Clients(database=database, clock=clock, hashed=hashed)
        self.sessions = self.sessions_of(*secrets)

    def sessions_of(self, *secrets: SecretKey, issuer: str = "here") -> Sessions:
        return Sessions(
            database=self.database, clock=self.clock, secret_keys=secrets, issuer=issuer, lifetime=900.0,
            age=lambda: self.age, stale_grace=300.0,
        )  # fmt: skip

    async def enter(self, name: str, password: str, peer: str = "192.0.2.1", *, known: bool = False):
        return await self.users.check(name, password, peer, known=known)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def world(database: Database, clock: Time) -> World:
    return World(database, clock, NEW)


async def test_a_password_lets_in_and_a_wrong_one_tells_nothing(world: World):
    ada = await world.users.add("Ada Lovelace", "admin", PASSWORD)
    assert (await world.enter("ada  LOVELACE".replace("  ", " "), PASSWORD)).id == ada.id
    messages = set()
    for name, password in (("Ada Lovelace", "wrong"), ("nobody", PASSWORD), ("", ""), ("Ada Lovelace", "x" * 5000)):
        with pytest.raises(Unauthenticated) as refused:
            await world.enter(name, password)
        messages.add(refused.value.message)
    assert len(messages) == 1
    assert (await world.users.find("ada lovelace")).seen_at == world.clock.now()


async def test_the_database_holds_no_password_and_no_token(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    begun = await world.families.begin(ada.id)
    code = await world.users.password_code(ada)
    tables = ("users", "sessions", "refresh_tokens", "one_time_codes")
    kept = "".join([str(await world.database.fetch(f"SELECT * FROM {table}")) for table in tables])
    assert "$argon2id$" in kept
    assert begun.refresh_token is not None
    for secret in (PASSWORD, begun.refresh_token, code):
        assert secret not in kept
        assert secret not in repr(begun)


async def test_a_hash_of_older_parameters_is_made_anew_at_sign_in(world: World, database: Database, clock: Time):
    ada = await world.users.add("ada", "admin", PASSWORD)
    (before,) = (await database.fetch("SELECT password FROM users"))[0]
    stronger = World(database, clock, NEW, hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    assert (await stronger.enter("ada", PASSWORD)).id == ada.id
    (after,) = (await database.fetch("SELECT password FROM users"))[0]
    assert "t=1" in before
    assert "t=2" in after
    assert (await stronger.enter("ada", PASSWORD)).id == ada.id


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("short", "12 characters"),
        ("aaaaaaaaaaaaaaaa", "few different"),
        ("Password123!", "first that are guessed"),
        ("passwordpassword", "first that are guessed"),
        ("QWERTYUIOPASDFGHJKL", "first that are guessed"),
        ("123456789012345", "first that are guessed"),
        ("adalovelace2026", "name"),
        ("x" * 1025, "1024 bytes"),
        ("é" * 600, "1024 bytes"),
        ("three\x00wooden horses", "control"),
    ],
    ids=lambda value: value[:20],
)
def test_guessable_passwords_are_refused_and_never_repeated(password: str, word: str):
    with pytest.raises(InvalidRequest) as refused:
        check_password(password, "AdaLovelace")
    assert word in refused.value.message
    assert password not in refused.value.message


@pytest.mark.parametrize("password", [PASSWORD, "öäüßéàñøåçõî", "x9" + "kLm3 " * 200, "ada met a lovely lace maker"])
def test_good_passwords_are_taken(password: str):
    check_password(password, "ada")


async def test_a_password_can_be_typed_composed_or_decomposed(world: World):
    await world.users.add("ada", "admin", "caf\u00e9 au lait noir")
    assert await world.enter("ada", "cafe\u0301 au lait noir")


async def test_names_are_one_whatever_their_case_and_width(world: World):
    await world.users.add("Ada", "admin", PASSWORD)
    for name in ("ADA", " ada ", "Ａｄａ"):
        with pytest.raises(InvalidRequest):
            await world.users.add(name, "member")
    for name in ("", "a" * 101, "a\nb", "a\u200bb", "a\u2028b"):
        with pytest.raises(InvalidRequest):
            await world.users.add(name, "member")


async def test_only_one_can_be_the_first(world: World):
    results = await asyncio.gather(
        *(world.users.add(f"user {number}", "admin", PASSWORD, first=True) for number in range(4)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(result, Conflict) for result in results if isinstance(result, BaseException))
    assert len(await world.users.everyone()) == 1


async def test_the_last_admin_stays(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    eve = await world.users.add("eve", "admin", PASSWORD)
    results = await asyncio.gather(
        world.users.set_role(ada, "member"), world.users.set_disabled(eve, True), return_exceptions=True
    )
    assert sum(isinstance(result, InvalidRequest) for result in results) == 1
    (admin,) = [user for user in await world.users.everyone() if user.role == "admin" and not user.disabled]
    with pytest.raises(InvalidRequest):
        await world.users.remove(admin)
    for user in await world.users.everyone():
        if user.id != admin.id:
            await world.users.remove(user)
            with pytest.raises(NotFound):
                await world.users.find(user.id)


def test_waits_double_and_end():
    waits = [wait_after(failures, ACCOUNT_FREE) for failures in range(100)]
    assert waits[: ACCOUNT_FREE + 4] == [0.0] * ACCOUNT_FREE + [1.0, 2.0, 4.0, 8.0]
    assert max(waits) == LONGEST
    assert waits == sorted(waits)


async def fail(world: World, name: str, times: int, peer: str = "192.0.2.1") -> float | None:
    """Fail so often; the wait when it came to one."""
    for _ in range(times):
        try:
            await world.enter(name, "wrong password", peer)
        except RateLimited as error:
            return error.retry_after
        except Unauthenticated:
            pass
    return None


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_failures_make_the_next_attempt_wait_whether_or_not_the_name_exists(world: World, name: str):
    await world.users.add("ada", "admin", PASSWORD)
    assert await fail(world, name, ACCOUNT_FREE) is None
    assert await fail(world, name, 1) == 1.0
    with pytest.raises(RateLimited):  # the right password waits too
        await world.enter(name, PASSWORD)
    world.clock.time += 1.1
    assert await fail(world, name, 1) is None
    assert await fail(world, name, 1) == 2.0
    world.clock.time += 2.1
    if name == "ada":
        assert await world.enter("ada", PASSWORD)
        assert await fail(world, name, ACCOUNT_FREE - 1) is None  # counted anew


async def test_a_stranger_who_guesses_does_not_keep_the_user_out(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    await world.families.begin(ada.id, peer="198.51.100.7")
    for number in range(ACCOUNT_FREE + 1):
        await fail(world, "ada", 1, f"192.0.2.{number}")
    with pytest.raises(RateLimited):
        await world.enter("ada", PASSWORD, "192.0.2.200")
    known = await world.families.knows("ADA", "198.51.100.7")
    assert known
    assert await world.enter("ada", PASSWORD, "198.51.100.7", known=known)
    assert not await world.families.knows("ada", "192.0.2.1")
    await world.users.unlock(ada)
    assert await world.enter("ada", PASSWORD, "192.0.2.200")


async def test_an_address_that_tries_many_names_waits(world: World):
    waits = [await fail(world, f"name {number}", 1) for number in range(25)]
    assert any(wait is not None for wait in waits)


async def test_a_loopback_address_says_nothing_of_who_comes(world: World):
    """Behind a proxy on the same machine everybody has it."""
    assert [await fail(world, f"name {number}", 1, "127.0.0.1") for number in range(25)] == [None] * 25


async def test_guesses_at_the_same_time_do_not_pass_together(world: World):
    await world.users.add("ada", "admin", PASSWORD)
    results = await asyncio.gather(
        *(world.enter("ada", "wrong", f"192.0.2.{number}") for number in range(30)), return_exceptions=True
    )
    assert sum(isinstance(result, Unauthenticated) for result in results) <= ACCOUNT_FREE
    assert all(isinstance(result, Unauthenticated | RateLimited) for result in results)


async def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_family(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    begun = await world.families.begin(ada.id)
    other = await world.families.begin(ada.id)
    first = await world.families.read(begun.refresh_token or "")
    assert first is not None
    second = await world.families.rotate(first)
    assert second is not None
    assert second.session.id == begun.session.id
    again = await world.families.read(begun.refresh_token or "")
    assert again is not None
    assert await world.families.rotate(again) is None
    successor = await world.families.read(second.refresh_token or "")
    assert successor is not None
    assert await world.families.rotate(successor) is None
    assert [session.id for session in await world.families.of_user(ada.id)] == [other.session.id]


async def test_of_many_uses_at_once_one_wins_and_the_family_ends(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    begun = await world.families.begin(ada.id)
    record = await world.families.read(begun.refresh_token or "")
    assert record is not None
    results = await asyncio.gather(*(world.families.rotate(record) for _ in range(8)))
    assert sum(result is not None for result in results) <= 1
    assert await world.families.of_user(ada.id) == []


async def test_two_tabs_with_one_cookie_go_on_but_a_late_copy_ends_it(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    begun = await world.families.begin(ada.id)
    record = await world.families.read(begun.refresh_token or "")
    assert record is not None
    results = await asyncio.gather(*(world.families.rotate(record, leeway=10.0) for _ in range(5)))
    assert [result is not None for result in results] == [True] * 5
    assert sum(result is not None and result.refresh_token is not None for result in results) == 1
    world.clock.time += 11
    late = await world.families.read(begun.refresh_token or "")
    assert late is not None
    assert await world.families.rotate(late, leeway=10.0) is None
    assert await world.families.of_user(ada.id) == []


async def test_a_session_ends_however_often_it_is_refreshed(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    begun = await world.families.begin(ada.id)
    world.clock.time += 86_399
    record = await world.families.read(begun.refresh_token or "")
    assert record is not None
    nearly = await world.families.rotate(record)
    assert nearly is not None
    world.clock.time += 2
    record = await world.families.read(nearly.refresh_token or "")
    assert record is not None
    assert await world.families.rotate(record) is None


async def test_codes_for_passwords_work_once_and_end_sessions(world: World):
    ada = await world.users.add("ada", "admin")
    with pytest.raises(Unauthenticated):
        await world.enter("ada", "")
    stale = await world.users.password_code(ada)
    code = await world.users.password_code(ada)
    await world.families.begin(ada.id)
    with pytest.raises(Unauthenticated):
        await world.users.use_password_code(stale, PASSWORD)
    with pytest.raises(InvalidRequest):
        await world.users.use_password_code(code, "short")
    await world.users.use_password_code(code, PASSWORD)
    assert await world.families.of_user(ada.id) == []
    with pytest.raises(Unauthenticated):
        await world.users.use_password_code(code, PASSWORD + "!")
    late = await world.users.password_code(ada)
    world.clock.time += 3 * 86_400
    with pytest.raises(Unauthenticated):
        await world.users.use_password_code(late, PASSWORD)
    assert await world.enter("ada", PASSWORD)


async def test_a_rotated_secret_keeps_sessions_and_codes(database: Database, clock: Time):
    old, both = World(database, clock, OLD), World(database, clock, NEW, OLD)
    ada = await old.users.add("ada", "admin", PASSWORD)
    begun = await old.families.begin(ada.id)
    token = old.sessions.issue(ada.id, "admin", begun.session.id)
    await both.sessions.reload()
    assert both.sessions.caller(token) is not None
    assert both.sessions.csrf_ok(token, old.sessions.csrf_token(begun.session.id).encode())
    record = await both.families.read(begun.refresh_token or "")
    assert record is not None
    assert await both.families.rotate(record) is not None
    after = World(database, clock, NEW)
    await after.sessions.reload()
    assert after.sessions.caller(token) is None


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_access_tokens_that_are_not_ours_are_worth_nothing(world: World, clock: Time):
    ada = await world.users.add("ada", "admin", PASSWORD)
    session = (await world.families.begin(ada.id)).session.id
    await world.sessions.reload()
    good = world.sessions.issue(ada.id, "admin", session)
    caller = world.sessions.caller(good)
    assert caller is not None
    assert (caller.admin, caller.role, caller.key_id, caller.user_id) == (True, "admin", ada.id, ada.id)

    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    key = OctKey.import_key(NEW.derive("sessions"))

    def signed(header: dict[str, Any] | None = None, key: Any = key, algorithms: Any = None, **changed: Any) -> str:
        made = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        header = {"alg": "HS256", "typ": "at+jwt", **(header or {})}
        return jwt.encode(header, made, key, algorithms=algorithms or ["HS256"])

    assert world.sessions.caller(signed()) is not None, "the test's own tokens are like the gateway's"
    eddsa = OKPKey.generate_key("Ed25519")
    now = int(clock.now())
    bad = {
        "none": f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        "none, signed": f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{body}.{signature}",
        "None": f"{part({'alg': 'NoNe', 'typ': 'at+jwt'})}.{body}.",
        "no signature": f"{head}.{body}.",
        "other body": f"{head}.{part({**claims, 'sub': 'user_else'})}.{signature}",
        "HS512": signed({"alg": "HS512"}, algorithms=["HS512"]),
        "EdDSA": signed({"alg": "Ed25519"}, key=eddsa, algorithms=["Ed25519"]),
        "signed with a public key": signed(key=OctKey.import_key(eddsa.as_dict(private=False)["x"])),
        "another purpose's key": signed(key=OctKey.import_key(NEW.derive("csrf"))),
        "the secret's fingerprint": signed(key=OctKey.import_key(NEW.fingerprint * 2)),
        "a key of its own": signed({"jwk": {"kty": "oct", "k": "AAAA"}}, key=OctKey.import_key(b"x" * 32)),
        "critical header": signed().replace(head, part({"alg": "HS256", "typ": "at+jwt", "crit": ["x"], "x": 1})),
        "an id token": signed({"typ": "JWT"}),
        "expired": signed(exp=now - 1),
        "without an end": signed(exp=None),
        "an end that is text": signed(exp=str(now + 900)),
        "not yet": signed(nbf=now + 600),
        "of the future": signed(iat=now + 600),
        "other audience": signed(aud="another"),
        "no audience": signed(aud=None),
        "other issuer": signed(iss="there"),
        "no session": signed(sid=None),
        "unknown user": signed(sub="user_0000"),
        "number as user": signed(sub=7),
        "too long": signed(pad="x" * 5000),
        "rubbish": "a.b.c" * 20,
        "empty parts": "." * 2 + " " * 30,
    }
    accepted = [name for name, token in bad.items() if world.sessions.caller(token) is not None]
    assert accepted == []


async def test_a_token_lives_no_longer_than_it_says(world: World, clock: Time):
    ada = await world.users.add("ada", "member", PASSWORD)
    await world.sessions.reload()
    token = world.sessions.issue(ada.id, "member", "ses_1")
    clock.time += 899
    assert world.sessions.caller(token) is not None
    clock.time += 1
    assert world.sessions.caller(token) is None
    last = world.sessions.issue(ada.id, "member", "ses_1", ends_at=clock.time + 10)
    assert world.sessions.caller(last) is not None
    clock.time += 10
    assert world.sessions.caller(last) is None, "nor longer than its session"


async def test_changes_of_users_and_sessions_reach_tokens_at_the_reload(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    bob = await world.users.add("bob", "member", PASSWORD)
    session = (await world.families.begin(bob.id)).session.id
    sessions = world.sessions

    async def seen(token: str) -> str | None:
        await sessions.reload()
        caller = sessions.caller(token)
        return caller.role if caller is not None else None

    token = sessions.issue(bob.id, "member", session)
    assert await seen(token) == "member"
    await world.users.set_role(bob, "viewer")
    assert await seen(token) == "viewer"
    await world.users.set_disabled(bob, True)
    assert await seen(token) is None
    await world.users.set_disabled(bob, False)
    assert await seen(token) is None, "enabling a user brings no ended session back"
    other = sessions.issue(bob.id, "viewer", (await world.families.begin(bob.id)).session.id)
    assert await seen(other) == "viewer"
    await world.families.end_all(bob.id, "revoked")
    assert await seen(other) is None
    mine = sessions.issue(ada.id, "admin", (await world.families.begin(ada.id)).session.id)
    assert await seen(mine) == "admin"
    world.age = 301.0
    assert sessions.caller(mine) is None, "a snapshot that old is not believed"


async def test_a_session_that_a_gateway_with_a_slow_clock_ended_has_ended(world: World, clock: Time):
    ada = await world.users.add("ada", "member", PASSWORD)
    session = (await world.families.begin(ada.id)).session.id
    token = world.sessions.issue(ada.id, "member", session)
    clock.time -= 1800
    await world.families.end(session, "signed out")
    clock.time += 1800
    await world.sessions.reload()
    assert world.sessions.caller(token) is None


async def test_a_slow_reload_brings_back_nothing_that_ended(world: World, monkeypatch: pytest.MonkeyPatch):
    ada = await world.users.add("ada", "admin", PASSWORD)
    session = (await world.families.begin(ada.id)).session.id
    token = world.sessions.issue(ada.id, "admin", session)
    fetch, reached, held = world.database.fetch, asyncio.Event(), asyncio.Event()

    async def slow(sql: str, *values: Any) -> Any:
        rows = await fetch(sql, *values)
        if "FROM sessions" in sql:
            reached.set()
            await held.wait()
        return rows

    monkeypatch.setattr(world.database, "fetch", slow)
    reload = asyncio.create_task(world.sessions.reload())
    await reached.wait()
    monkeypatch.setattr(world.database, "fetch", fetch)
    await world.families.end(session, "revoked")
    await world.sessions.reload()
    assert world.sessions.caller(token) is None
    held.set()
    await reload
    assert world.sessions.caller(token) is None


async def test_csrf_tokens_belong_to_one_session(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    await world.sessions.reload()
    token, other = (world.sessions.issue(ada.id, "admin", session) for session in ("ses_1", "ses_2"))
    right = world.sessions.csrf_token("ses_1").encode()
    assert world.sessions.csrf_ok(token, right)
    assert not world.sessions.csrf_ok(other, right)
    for wrong in (None, b"", right[:-1], right + b"0", b"\xff" * 64):
        assert not world.sessions.csrf_ok(token, wrong)
    assert not world.sessions.csrf_ok("rubbish", right)


def test_scopes_confine_what_an_application_may_do():
    whole, narrow = caller_for("user_1", "admin", ""), caller_for("user_1", "admin", "chat models")
    assert (whole.admin, whole.role, whole.scopes.endpoints) == (True, "admin", ())
    assert (narrow.admin, narrow.role, narrow.scopes.endpoints) == (False, "member", ("chat", "models"))
    assert caller_for("user_1", "admin", "admin").admin
    assert not caller_for("user_1", "member", "admin").admin
    assert caller_for("user_1", "viewer", "chat").role == "viewer"


@pytest.mark.parametrize(
    ("registered", "asked", "fits"),
    [
        ("https://app.example/cb", "https://app.example/cb", True),
        ("https://app.example/cb", "https://app.example/cb/", False),
        ("https://app.example/cb", "https://app.example/cb?x=1", False),
        ("https://app.example/cb", "https://app.example:8443/cb", False),
        ("https://app.example/cb", "https://app.example.evil.example/cb", False),
        ("https://app.example/cb", "HTTPS://APP.EXAMPLE/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb", True),
        ("http://[::1]/cb", "http://[::1]:4000/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:4000/cb?x=1", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:4000/other", False),
        ("http://127.0.0.1/cb", "http://localhost:4000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:4000@evil.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1:4000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1\\@evil.example/cb", False),
        ("com.example.app:/cb", "com.example.app:/cb", True),
    ],
)
def test_redirect_uris_match_exactly_but_for_loopback_ports(registered: str, asked: str, fits: bool):
    check_redirect_uri(registered)
    client = OAuthClient(
        id="c", name="c", redirect_uris=(registered,), scopes=(), secret_hash=None, first_party=False, created_at=0
    )
    assert client.allows_redirect(asked) is fits


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/cb", "https://app.example/cb#x", "https://u:p@app.example/cb", "javascript:alert(1)",
        "data:x", "https:///cb", "//app.example/cb", "https://app.example/a b", "https://app.example/*", "https://[::1",
        "",
        "https://app.example/;x", "https://äpp.example/cb",
    ],
)  # fmt: skip
def test_redirect_uris_that_nobody_should_register(uri: str):
    with pytest.raises(InvalidRequest):
        check_redirect_uri(uri)


async def test_a_code_is_exchanged_once_and_its_second_use_ends_the_session(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    client, secret = await world.clients.add(
        "App", redirect_uris=["https://app.example/cb"], scopes=["chat"], confidential=True
    )
    assert secret is not None
    assert world.clients.secret_fits(client, secret)
    assert not world.clients.secret_fits(client, secret + "x")
    fields = {
        "client_id": client.id, "user_id": ada.id, "redirect_uri": "https://app.example/cb", "scope": "chat",
        "code_challenge": "x", "agent": "", "peer": "",
    }  # fmt: skip
    await world.families.save_code(**fields, code="code-1")
    record = await world.families.read_code("code-1", client.id)
    assert record is not None
    assert await world.families.read_code("code-1", "another client") is None
    begun = await asyncio.gather(*(world.families.exchange(record, refreshable=True) for _ in range(2)))
    assert sum(one is not None for one in begun) == 1
    assert await world.families.of_user(ada.id) == []
    await world.families.save_code(**fields, code="code-2")
    record = await world.families.read_code("code-2", client.id)
    assert record is not None
    assert await world.families.exchange(record, refreshable=True) is not None
    assert len(await world.families.of_user(ada.id)) == 1
    assert await world.families.read_code("code-2", client.id) is None
    assert await world.families.of_user(ada.id) == []
    await world.families.save_code(**fields, code="code-3")
    world.clock.time += 61
    assert await world.families.read_code("code-3", client.id) is None


async def test_what_is_over_is_tidied_away(world: World):
    ada = await world.users.add("ada", "admin", PASSWORD)
    for _ in range(3):
        await world.families.begin(ada.id)
    world.clock.time += 10 * 86_400
    await world.families.begin(ada.id)
    assert len(await world.database.fetch("SELECT 1 FROM sessions")) == 1
    assert len(await world.database.fetch("SELECT 1 FROM refresh_tokens")) == 1
