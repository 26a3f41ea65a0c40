"""How many files the system lets this process have open, and how many clients' connections fit into that."""

from __future__ import annotations

from contextlib import suppress

MOST = 65_536
"""Files that are asked for at most; a process that might open a million has tables for a million."""
APART = 192
"""Files that are no client's and no answer's: the log, databases, the engine, clients that are told 503."""
EACH = 2
"""Files that an answer takes: its client's connection, and one to the upstream."""


def raise_limit() -> None:
    """Have as many files open as the system lets this process, without asking for more rights.

    Shells and services often begin with 1,024, of which 500 streams are as many as fit, and allow far more to whoever
    asks.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def connections_that_fit(wanted: int) -> tuple[int, int]:
    """Of the clients' connections that are wanted, how many can be answered at once; and the files that may be open, 0
    where that is not known."""
    try:
        import resource
    except ImportError:
        return wanted, 0
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return wanted, 0
    return min(wanted, max(1, (soft - APART) // EACH)), soft
