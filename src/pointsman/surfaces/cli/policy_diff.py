"""`pointsman policies diff`: what two policies say differently, and what they would do differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .invocation import Invocation
from .learning import cards_of, load_named, read_stretch, shown
from .output import console, note, print_json, table, usd

if TYPE_CHECKING:
    from pointsman.pipeline.decide import Policy
    from pointsman.stores.policies import PolicyStore

YEAR = 365 * 86_400.0
BUILT_IN = "built-in"
SHOWN = 60


async def compare(invocation: Invocation, before: str, after: str, *, limit: int, as_json: bool) -> None:
    """
    Raises:
        NotFound: there is no such version.
    """
    from pointsman.core.ports import SystemClock
    from pointsman.learn.differences import choices, numbers
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database

    settings = invocation.settings()
    async with opened_database(settings) as database:
        store = PolicyStore(database, SystemClock())
        stretch = await read_stretch(database, YEAR)
        decisions = [one for one in stretch.decisions if one.mode != "forced" and one.candidates][-limit:]
        cards = cards_of(settings, decisions)
        names = ("learned" if name == BUILT_IN else name for name in (before, after))
        policies: list[Policy] = [await load_named(name, settings, database, cards) for name in names]
        written = [await _tree(store, name, policy) for name, policy in zip((before, after), policies, strict=True)]
    changed = numbers(*written)
    with shown("Asking both", len(decisions)) as tell:
        found = choices(decisions, *policies, cards=cards, tell=tell)
    if as_json:
        print_json({"before": before, "after": after, "numbers": changed, "choices": found})
        return
    rows = [(name, _short(was), _short(now)) for name, (was, now) in list(changed.items())[:SHOWN]]
    if rows:
        console().print(table(["Number", before, after], rows, right=[before, after]))
        if len(changed) > SHOWN:
            note(f"{len(changed) - SHOWN} more differ; --json tells all.")
    if not found.decisions:
        note("The log holds no decision to compare them on.")
        return
    note(f"{found.changed} of {found.decisions} logged decisions would be taken otherwise ({found.share:.0%}).")
    note(
        f"Expected of a decision: {usd(round(found.before.micro_usd))} and {found.before.success:.1%} success under"
        f" {before}, {usd(round(found.after.micro_usd))} and {found.after.success:.1%} under {after}."
    )
    moves = [(move.before, move.after, move.decisions) for move in found.moves[:10]]
    if moves:
        console().print(table(["From", "To", "Decisions"], moves, right=["Decisions"]))


async def _tree(store: PolicyStore, name: str, policy: Policy) -> Any:
    """The numbers that a policy was written as."""
    import msgspec

    from pointsman.pipeline.decide import LearnedPolicy, RulePolicy, dump_policy
    from pointsman.pipeline.decide.learned.artefact import dump_artefact

    if isinstance(policy, RulePolicy):
        return msgspec.json.decode(dump_policy(policy))
    if name in (BUILT_IN, "learned") and isinstance(policy, LearnedPolicy):
        return msgspec.json.decode(dump_artefact(policy.artefact))
    return msgspec.json.decode((await store.get(name)).artefact)


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:20]}… ({len(text)})"
