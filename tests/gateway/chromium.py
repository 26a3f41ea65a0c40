"""A real Chromium, driven over its debugging pipe: what only a browser does (policies, origins, cookies) shows here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page. `console` holds what the browser complained of."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.console: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def go(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true; pages come and go meanwhile."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(RuntimeError):
                if self.run(f"Boolean({condition})"):
                    return
            assert time.monotonic() < end, (condition, self.run("location.href"), self.console)
            time.sleep(0.05)

    def fill(self, **fields: str) -> None:
        """Fill the form in which these fields stand, and send it by its button."""
        script = "".join(f"document.getElementById({name!r}).value = {value!r};" for name, value in fields.items())
        self.run(f"{script} document.getElementById({next(iter(fields))!r}).form.querySelector('button').click()")

    def forget_cookies(self) -> None:
        self._call("Network.clearBrowserCookies")

    def _call(self, method: str, **params: Any) -> Any:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]
            if answer.get("method") == "Log.entryAdded":
                entry = answer["params"]["entry"]
                if entry["level"] in ("error", "warning"):
                    self.console.append(entry["text"])

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 65536)
            assert data, "the browser has gone"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def opened(program: str, folder: Path) -> Iterator[Tab]:
    """A browser with a profile of its own. It reads its orders from descriptor 3 and answers at 4."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # A shell moves the descriptors, so that nothing of ours runs between fork and exec.
    orders = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", orders, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(to_read, from_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(from_write)
    try:
        yield Tab(from_read, to_write)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)
