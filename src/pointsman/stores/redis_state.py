"""Limits, budgets, nonces and notices of many processes, on Redis or Valkey: each step one atomic script in `lua/`.

Keys begin with `{prefix}:`; the braces keep all of them in one slot. What follows is one word for the kind and then
the caller's own name, so no name can reach another's key:

    {prefix}:b:KEY             a bucket: `level at`; gone when it would be full
    {prefix}:w:SECONDS:KEY     a window: `number count`; gone at its end
    {prefix}:n:KEY             seen once
    {prefix}:o:OWNER           a sorted set: nonce by when it was made; gone with the last of them
    {prefix}:f:OWNER           when the last one was made that was forgotten for want of room, and how many are kept
    {prefix}:known:RUN         since when nonces are kept; of versions that kept them otherwise nothing is known
    {prefix}:notices           what replicas say to one another: a line for each notice
    {prefix}:t:RUN:NAME        a total, in micro-dollars; gone a week after its period
    {prefix}:reservations:RUN  a hash: reservation → its amounts
    {prefix}:leases:RUN        a sorted set: reservation by the end of its lease

RUN is the id of the server's run (`PerRun`): sums are never taken from a snapshot, but seeded anew after a restart.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, unquote

from pointsman.core.circuits import Notice
from pointsman.core.ports import Health
from pointsman.core.shared import Amount, Bucket, Lapsed, Limit, Reserved, Seen, StateUnavailable, Taken

from .limit_rules import DAY, KEEP_TOTAL, SHORTEST_TOTAL, check_amounts, check_sums, judge
from .redis_link import Address, PerRun, RedisLink, Script, Word
from .steady_clock import SteadyClock

log = logging.getLogger(__name__)

KEEP_RESERVATIONS = 7 * DAY
"""Seconds that reservations outlive their leases, should no gateway be left to take them."""

TAKE, CHARGE = Script("take", "_limits"), Script("charge", "_limits")
RESERVE, SETTLE, TAKE_LAPSED = Script("reserve"), Script("settle"), Script("take_lapsed")
ADJUST, SEED, TOTALS = Script("adjust"), Script("seed"), Script("totals")
ONCE, ONCE_OF = Script("once"), Script("once_of")
PING, NOTICES = Script("ping"), Script("notices")

KEEP_SINCE = 7 * 86_400.0
"""Seconds without any nonce after which it is forgotten since when they are kept; it then begins anew."""


class RedisState:
    """The `SharedState` of replicas that share a Redis or Valkey.

    Any method raises StateUnavailable when no answer comes in time; at once while the server counts as away. The step
    may have been done all the same, its answer lost on the way. What that means is said at each method.
    """

    def __init__(self, address: Address, *, prefix: str = "pointsman", timeout: float = 0.5) -> None:
        """
        Args:
            prefix: what every key begins with; without braces.
            timeout: seconds that connecting may take, and then again each step.
        """
        self._prefix = f"{{{prefix}}}:".encode()
        self._reservations = PerRun(self._prefix + b"reservations:")
        self._leases = PerRun(self._prefix + b"leases:")
        self._since = PerRun(self._prefix + b"known:")
        self._once_since = 0.0
        self._probe = self._prefix + b"probe"
        self._link = RedisLink(address, timeout=timeout, knock=("SET", self._probe, "1", "PX", 1000))
        self._ahead = 0.0
        """Seconds to add to the monotonic clock for the store's."""
        self._clock: SteadyClock | None = None

    @property
    def memory(self) -> bytes:
        """The server's run; a flush is not noticed."""
        return self._link.server_run

    def now(self) -> float:
        """The store's clock as of its last answer plus what has passed since; before the first, this machine's."""
        return time.time() if self._clock is None else self._clock.now()

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """After a lost answer the limits may have been charged: to the caller's disadvantage, until they refill."""
        if not limits:
            return Taken(ok=True, standings=())
        ok, at, *found = (await self._link.run(TAKE, *self._limits(limits))).split()
        self._seen(at)
        told, _ = judge(limits, [float(value) for value in found], float(at))
        return Taken(ok=ok == b"1", standings=told.standings)

    async def charge(self, limits: Sequence[Limit]) -> None:
        """After a lost answer it may have been done."""
        if limits:
            self._seen(await self._link.run(CHARGE, *self._limits(limits)))

    async def reserve(self, reservation: str, amounts: Sequence[Amount], *, lease_seconds: float) -> Reserved:
        """After a lost answer the totals may have been raised. Ask again under the same name, or settle it for
        nothing: either is safe. Left alone, it lapses with its lease."""
        check_amounts(amounts)
        numbers: dict[str, int] = {}
        rows: list[Word] = []
        for amount in amounts:
            cap = amount.cap_micro_usd
            rows += (numbers.setdefault(amount.total, len(numbers) + 1), amount.micro_usd, "" if cap is None else cap)
        names = list(numbers)
        reply = await self._link.run(
            RESERVE,
            (self._reservations, self._leases, *self._totals(names)),
            (_bytes(reservation), lease_seconds, KEEP_RESERVATIONS, *map(_bytes, names), *rows),
        )
        outcome, at, *values = reply.split()
        self._seen(at)
        totals = {name: int(value) for name, value in zip(names, values, strict=True) if value != b"-"}
        if outcome in (b"o", b"k"):
            return Reserved(ok=True, totals=totals)
        if outcome == b"s":
            return Reserved(ok=False, unseeded=tuple(name for name in names if name not in totals), totals=totals)
        return Reserved(ok=False, refused=names[int(outcome) - 1], totals=totals)

    async def settle(self, reservation: str, actual: Mapping[str, int]) -> bool:
        """After a lost answer it may have been done: asking again is safe, and then tells False."""
        check_sums(actual.values())
        words = [word for name, value in actual.items() for word in (_bytes(name), value)]
        reply = await self._link.run(
            SETTLE,
            (self._reservations, self._leases),
            (PerRun(self._prefix + b"t:", b":"), _bytes(reservation), *words),
        )
        found, at = reply.split()
        self._seen(at)
        return bool(found == b"1")

    async def adjust(self, deltas: Mapping[str, int]) -> None:
        """After a lost answer it may have been done; asking again may do it twice."""
        check_sums(deltas.values())
        if deltas:
            self._seen(await self._link.run(ADJUST, self._totals(deltas), tuple(deltas.values())))

    async def seed(self, totals: Mapping[str, int], *, expires_at: float) -> None:
        """Asking again is safe."""
        check_sums(totals.values())
        if totals:
            values = (expires_at + KEEP_TOTAL, SHORTEST_TOTAL, *totals.values())
            self._seen(await self._link.run(SEED, self._totals(totals), values))

    async def totals(self, names: Sequence[str]) -> dict[str, int | None]:
        at, *values = (await self._link.run(TOTALS, self._totals(names), ())).split()
        self._seen(at)
        return {name: None if value == b"-" else int(value) for name, value in zip(names, values, strict=True)}

    async def take_lapsed(self, limit: int = 100) -> list[Lapsed]:
        """After a lost answer they may be gone unhandled: their amounts stand in the totals until the period ends,
        which allows less than the cap and never more."""
        at, *handed = await self._link.run(TAKE_LAPSED, (self._reservations, self._leases), (limit,))
        self._seen(at)
        return [
            Lapsed(
                reservation=_text(name),
                amounts=tuple(
                    Amount(total=_text(total), micro_usd=int(value))
                    for total, value in zip(amounts[::2], amounts[1::2], strict=True)
                ),
            )
            for name, amounts in zip(handed[::2], handed[1::2], strict=True)
        ]

    async def once(self, key: str, *, seconds: float) -> bool:
        """After a lost answer the key may count as seen."""
        first, at = (await self._link.run(ONCE, (self._key(b"n:", key),), (seconds,))).split()
        self._seen(at)
        return bool(first == b"1")

    async def once_of(self, owner: str, name: str, *, at: int, seconds: float, most: int) -> Seen:
        """After a lost answer the name may count as seen."""
        keys = (self._key(b"o:", owner), self._key(b"f:", owner), self._since)
        words = (_bytes(name), at, seconds, most, KEEP_SINCE)
        seen, now, since = (await self._link.run(ONCE_OF, keys, words)).split()
        self._seen(now)
        self._once_since = float(since)
        told: Seen = seen.decode()
        return told

    def once_since(self) -> float:
        return self._once_since

    async def exchange(self, said: Mapping[str, str], *, keep: float) -> dict[str, Notice]:
        """After a lost answer it may have been said; asking again is safe."""
        words = [word for name, text in said.items() for word in (quote(name), _bytes(text.replace("\n", " ")))]
        reply = await self._link.run(NOTICES, (self._prefix + b"notices",), (keep, *words))
        at, _, lines = reply.partition(b"\n")
        self._seen(at)
        notices = {}
        for line in _text(lines).split("\n")[:-1]:
            name, said_at, _, text = line.split(" ", 3)
            notices[unquote(name)] = Notice(text=text, age=max(0.0, float(at) - float(said_at)))
        return notices

    async def ping(self) -> None:
        self._seen(await self._link.run(PING, (self._probe,), ()))

    async def open(self) -> None:
        """Ask for the first time, and say in the log what the operator should know; goes on when nobody answers."""
        with contextlib.suppress(StateUnavailable):  # the link has said so
            await self.ping()
            facts = await self._facts()
            log.info("Limits and budgets are shared at %s (%s).", self._link.address, facts.get("version", "unknown"))
            for remark in _remarks(facts):
                log.warning("The shared state at %s %s", self._link.address, remark)

    async def health(self) -> Health:
        try:
            begun = time.monotonic()
            await self.ping()
            milliseconds = (time.monotonic() - begun) * 1000
            facts = await self._facts()
        except StateUnavailable as error:
            return Health(ok=False, detail=error.message, mend="Start it, or mend REDIS_URL.")
        policy = facts.get("policy", "unknown eviction policy")
        version = facts.get("version", "unknown version")
        return Health(
            ok=True,
            detail=f"{self._link.address}, {version}, {milliseconds:.1f} ms, {policy}",
            mend=" ".join(f"It {remark}" for remark in _remarks(facts)),
        )

    async def close(self) -> None:
        await self._link.close()

    async def _facts(self) -> dict[str, str]:
        """What the server tells of itself; managed ones forbid some of the questions."""
        told: dict[str, str] = {}
        with contextlib.suppress(StateUnavailable):
            for line in _text(await self._link.command("INFO")).splitlines():
                name, _, value = line.partition(":")
                told[name] = value.strip()
        facts = {}
        for name, brand in (("valkey_version", "Valkey"), ("redis_version", "Redis")):
            if name in told and "version" not in facts:
                facts["version"] = f"{brand} {told[name]}"
        if "maxmemory_policy" in told:
            facts["policy"] = told["maxmemory_policy"]
        with contextlib.suppress(StateUnavailable):
            save = await self._link.command("CONFIG", "GET", "save")
            if told.get("aof_enabled") == "0" and len(save) == 2 and not save[1]:
                facts["persistence"] = "off"
        return facts

    def _limits(self, limits: Sequence[Limit]) -> tuple[list[Word], list[Word]]:
        keys: list[Word] = []
        words: list[Word] = []
        for limit in limits:
            if isinstance(limit, Bucket):
                keys.append(self._key(b"b:", limit.key))
                words += ("b", limit.capacity, limit.refill, limit.cost, limit.floor)
            else:
                keys.append(self._key(b"w:%d:" % limit.seconds, limit.key))
                words += ("w", limit.limit, limit.seconds, limit.cost, 0)
        return keys, words

    def _totals(self, names: Iterable[str]) -> list[Word]:
        return [PerRun(self._prefix + b"t:", b":" + _bytes(name)) for name in names]

    def _key(self, kind: bytes, name: str) -> bytes:
        return self._prefix + kind + _bytes(name)

    def _seen(self, at: bytes) -> None:
        self._ahead = float(at) - time.monotonic()
        if self._clock is None:
            self._clock = SteadyClock(lambda: time.monotonic() + self._ahead, time.monotonic)


def _remarks(facts: Mapping[str, str]) -> list[str]:
    remarks = []
    policy = facts.get("policy", "noeviction")
    if policy != "noeviction":
        remarks.append(f"may forget counts when memory runs short ({policy}): set maxmemory-policy to noeviction.")
    if facts.get("persistence") == "off":
        remarks.append("keeps nothing over a restart: limits then begin anew, budgets are counted again from the"
                       " database. Set appendonly to yes.")  # fmt: skip
    return remarks


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _text(data: bytes) -> str:
    return data.decode(errors="surrogatepass")
