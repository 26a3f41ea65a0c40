"""Signed requests: the canonical form, and all that is refused."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

import pytest

from pointsman.core.caller import Caller
from pointsman.core.errors import StoreError, Unauthenticated
from pointsman.core.ports import SystemClock
from pointsman.core.shared import Seen, StateUnavailable
from pointsman.pipeline.admit import signatures
from pointsman.pipeline.admit.signatures import LARGE_BODY, Signatures, canonical_form
from pointsman.stores.memory_state import MemoryState
from pointsman.transport.http import HttpRequest

PAGE = (Path(__file__).parents[2] / "docs/how-to/sign-requests.md").read_text()
SECRET = "pmsig_" + "s" * 43
KEY = Caller(key_id="key_1", admin=False, role="member")
BODY = b'{"model":"auto"}'


class Away(MemoryState):
    async def once_of(self, owner: str, name: str, *, at: int, seconds: float, most: int) -> Seen:
        raise StateUnavailable


class LongUp(MemoryState):
    """Of a gateway that was started long ago."""

    def once_since(self) -> float:
        return super().once_since() - 3600


def documented() -> Any:
    """The client that the page shows."""
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], found)
    return found["signed"]


def checker(state: MemoryState | None = None, **options: Any) -> Signatures:
    known = {"key_1": SECRET.encode(), "key_broken": b""}
    return Signatures(secret_of=known.get, state=state or MemoryState(), **options)


def request(headers: dict[str, str] | None = None, **changed: Any) -> HttpRequest:
    fields: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "query": b"a=1", "body": BODY} | changed
    if headers is None:
        headers = documented()(SECRET, fields["method"], fields["path"], fields["query"].decode(), fields["body"])
    return HttpRequest(headers=[(name.encode(), value.encode()) for name, value in headers.items()], **fields)


def by_hand(timestamp: float, nonce: str = "0123456789abcdef", secret: str = SECRET) -> dict[str, str]:
    at = str(int(timestamp))
    digest = hashlib.sha256(BODY).hexdigest().encode()
    canonical = canonical_form("POST", "/v1/chat/completions", b"a=1", at.encode(), nonce.encode(), digest)
    signature = hmac.digest(secret.encode(), canonical, "sha256").hex()
    return {"x-pointsman-timestamp": at, "x-pointsman-nonce": nonce, "x-pointsman-signature": signature}


async def refused(check: Signatures, sent: HttpRequest, caller: Caller = KEY) -> str | None:
    with pytest.raises(Unauthenticated) as error:
        await check(sent, caller)
    assert error.value.status == 401
    assert SECRET not in error.value.message
    return error.value.code


def test_the_vector_of_the_page():
    digest = hashlib.sha256(BODY).hexdigest().encode()
    canonical = canonical_form("POST", "/v1/chat/completions", b"trace=1", b"1767225600", b"0123456789abcdef", digest)
    assert canonical.decode().split("\n") == [
        "POINTSMAN-HMAC-SHA256",
        "POST",
        "/v1/chat/completions",
        "trace=1",
        "1767225600",
        "0123456789abcdef",
        digest.decode(),
    ]
    assert hmac.digest(b"pmsig_example", canonical, "sha256").hex() in PAGE


async def test_the_client_of_the_page_is_admitted():
    check = checker()
    await check(request(), KEY)
    await check(request(body=b"", method="GET", query=b""), KEY)
    await check(request(body=b"x" * (LARGE_BODY + 1)), KEY)
    await check(request(path="/v1/models/caf\u00e9 au lait"), KEY)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"path": "/v1/feedback"},
        {"path": "/v1/chat/completions\na=1"},
        {"query": b"a=2"},
        {"query": b""},
        {"body": BODY + b" "},
        {"body": b""},
    ],
)
async def test_another_request_is_refused(changed: dict[str, Any]):
    good = documented()(SECRET, "POST", "/v1/chat/completions", "a=1", BODY)
    assert await refused(checker(), request(good, **changed)) == "signature_invalid"


async def test_another_secret_is_refused():
    state = MemoryState()
    assert await refused(checker(state), request(by_hand(state.now(), secret="pmsig_other"))) == "signature_invalid"


async def test_a_replay_is_refused():
    check = checker()
    sent = request()
    await check(sent, KEY)
    assert await refused(check, sent) == "signature_replayed"


async def test_a_forged_request_burns_no_nonce():
    state = MemoryState()
    check = checker(state)
    good = by_hand(state.now())
    assert await refused(check, request(good | {"x-pointsman-signature": "0" * 64})) == "signature_invalid"
    await check(request(good), KEY)


@pytest.mark.parametrize(("off", "fine"), [(-90, True), (90, True), (-130, False), (130, False)])
async def test_the_clock_may_be_off_by_the_tolerance(off: float, fine: bool):
    state = LongUp()
    check = checker(state, seconds=100)
    sent = request(by_hand(state.now() + off))
    if fine:
        await check(sent, KEY)
        assert await refused(check, sent) == "signature_replayed"
    else:
        assert await refused(check, sent) == "signature_stale"


async def test_a_store_that_hears_of_it_late_knows_a_replay_all_the_same():
    """The clock is looked at first; then the body is hashed, in a thread where it is large, and the store asked."""

    class Clock(SystemClock):
        later = 0.0

        def now(self) -> float:
            return super().now() + self.later

        def monotonic(self) -> float:
            return super().monotonic() + self.later

    class Late(LongUp):
        async def once_of(self, owner: str, name: str, *, at: int, seconds: float, most: int) -> Seen:
            clock.later += 30.0
            return await super().once_of(owner, name, at=at, seconds=seconds, most=most)

    clock = Clock()
    state = Late(clock)
    check = checker(state, seconds=100)
    sent = request(by_hand(state.now()))
    await check(sent, KEY)
    clock.later = 98.0
    assert await refused(check, sent) == "signature_replayed"


@pytest.mark.parametrize("name", ["x-pointsman-timestamp", "x-pointsman-nonce", "x-pointsman-signature"])
async def test_every_header_is_needed_once_and_whole(name: str):
    good = by_hand(MemoryState().now())
    assert await refused(checker(), request({k: v for k, v in good.items() if k != name})) == "signature_required"
    twice = request(good)
    twice.headers.append((name.encode(), good[name].encode()))
    assert await refused(checker(), twice) == "signature_required"
    for bad in ("", "\u00b2", "-1", "1e9", "x" * 65, "short", good[name].upper() + "!", good[name] + " "):
        assert await refused(checker(), request(good | {name: bad})) in ("signature_required", "signature_invalid")


async def test_unsigned_requests():
    unsigned = request({})
    optional, required = checker(), checker(mode="required")
    other = Caller(key_id="key_2", admin=False, role="member")
    person = Caller(user_id="user_1", admin=True, role="admin")
    assert await refused(optional, unsigned) == "signature_required"
    for caller in (other, person, Caller()):
        await optional(unsigned, caller)
    for caller in (KEY, other, person):
        assert await refused(required, unsigned, caller) == "signature_required"
    await required(unsigned, Caller())
    await required(unsigned, Caller(admin=False, role="anonymous"))


async def test_without_memory_for_nonces_signed_requests_are_refused():
    with pytest.raises(StateUnavailable):
        await checker(Away())(request(), KEY)


async def test_a_secret_that_cannot_be_read_lets_nobody_in():
    with pytest.raises(StoreError):
        await checker()(request({}), Caller(key_id="key_broken", admin=False, role="member"))


async def test_what_may_have_come_before_a_restart_is_refused():
    """A gateway that was started anew knows no nonce from before, so it takes no signature from before."""
    before = MemoryState()
    sent = by_hand(before.now() - 5)
    after = checker()
    assert await refused(after, request(sent)) == "signature_stale"
    await after(request(by_hand(before.now() + 1, "another-nonce-0123")), KEY)


async def test_what_was_forgotten_for_want_of_room_is_refused(monkeypatch):
    monkeypatch.setattr(signatures, "MOST_NONCES", 3)
    state = LongUp()
    check, now = checker(state), state.now()
    sent = [request(by_hand(now - 50 + age, f"nonce-number-{age:04}")) for age in range(10)]
    for one in sent:
        await check(one, KEY)
    assert [await refused(check, one) for one in sent] == ["signature_stale"] * 7 + ["signature_replayed"] * 3
    other = by_hand(now - 50, "another-nonce-01")
    assert await refused(check, request(other)) == "signature_stale", "it may have been received before"
    await check(request(by_hand(now, "another-nonce-02")), KEY)
