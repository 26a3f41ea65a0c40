"""Dying with the parent, however the parent dies.

Run as `python -m pointsman.providers.llamacpp.lifeline PARENT_PID MODULE [ARGUMENT ...]` it runs another module under
the same rule, so that a download does not outlive a gateway that was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """From now on a death of the process `parent` kills this one. Exits at once when it is already dead.

    On Linux the kernel sends the signal when the thread that started this process ends. Elsewhere `watch` does it.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def watch(descriptor: int) -> None:
    """Exit when the pipe whose other end the parent holds is closed, as it is when the parent dies."""

    def wait() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> None:
    import runpy

    die_with(int(sys.argv[1]))
    watch(0)
    module = sys.argv[2]
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
