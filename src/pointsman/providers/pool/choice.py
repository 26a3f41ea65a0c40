"""Which server of a pool gets a request."""

from __future__ import annotations

from collections.abc import Sequence

from .instance import Instance

TO_LOAD = 2.0
"""What it is worth to have a model in memory, in requests a slot: only when so many more wait where it is than where it
is not, it is loaded a second time."""
TO_STAY = 1.0
"""The same for the server that answered a conversation's last turn."""


def choose(instances: Sequence[Instance], name: str, *, now: float, last: Instance | None = None) -> Instance:
    """The least loaded of some servers, one without the model in memory counted as busier; of equals the one that was
    not asked for longest. One whose slots are all taken is passed over while another has one free: a request waits for
    a slot of any of them, so that it would wait for one that is not given to it.

    Args:
        name: the model.
        now: seconds of the monotonic clock.
        last: who answered this conversation before.
    """

    def load(instance: Instance) -> float:
        return instance.load(now) + (0.0 if instance.holds(name) else TO_LOAD)

    instances = [instance for instance in instances if not instance.full] or instances
    best = min(instances, key=lambda instance: (load(instance), instance.last_picked))
    if last is not None and last in instances and load(last) <= load(best) + TO_STAY:
        return last
    return best
