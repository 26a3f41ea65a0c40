"""Names of people through real gateways with the real model: what it finds, what becomes of it, and when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pointsman.core.people import ModelAway
from pointsman.evals.privacy.people import score_people
from pointsman.pipeline.understand.people import PERSON, UNCHECKED, is_name, passages
from pointsman.providers.entities.finder import NameFinder
from pointsman.providers.entities.model import ensure, folder_of, intact
from pointsman.testing.answers import Answer

from .entities import packages
from .running import Gateway, running

NAMED = "Please write a reminder to Margaret Holloway, she owes me money."
PLAIN = "Please write a reminder that the Docker image is too large."


@pytest.fixture(scope="module")
def extra() -> dict[str, str]:
    return packages()


@pytest.fixture(scope="module")
def cache() -> Path:
    """The user's own: what other runs have fetched is here already."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pointsman-tests"


@pytest.fixture(scope="module")
def finder(extra: dict[str, str], cache: Path) -> Iterator[NameFinder]:
    asyncio.run(ensure(cache, dict(os.environ)))
    finder = NameFinder(cache_dir=cache, environment={**os.environ, **extra})
    asyncio.run(finder.start())
    yield finder
    finder.close()


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def naming(
    settings: dict[str, Any], finder: NameFinder, extra: dict[str, str], cache: Path, tmp_path_factory: Any
) -> Iterator[Gateway]:
    tree = {**settings, "cache_dir": str(cache), "privacy": {"named_entities": True}}
    with running(tmp_path_factory.mktemp("naming"), tree, env=extra) as gateway:
        _until_it_reads(gateway)
        yield gateway


def _preview(gateway: Gateway, text: str, level: str = "standard") -> dict[str, Any]:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    reply = gateway.ask("POST", "/api/v1/route", body, headers={"x-pointsman-privacy": level})
    assert reply.status == 200, reply.body
    return reply.json["signals"]["privacy"]


def _until_it_reads(gateway: Gateway, text: str = NAMED) -> None:
    end = time.monotonic() + 60
    while (found := _preview(gateway, text)["detectors"]) != [PERSON]:
        assert found == [UNCHECKED], found
        assert time.monotonic() < end, "the model never came"
        time.sleep(0.2)


@pytest.mark.parametrize("level", ["standard", "high", "max"])
def test_a_name_is_a_contact_at_every_level(naming, cloud, level):
    cloud.script(Answer(text="ok"))
    reply = naming.chat(NAMED, model="openai:gpt-4o-mini", headers={"x-pointsman-privacy": level})
    if level == "standard":
        assert reply.status == 200, reply.body
        assert b"Margaret Holloway" in cloud.chats[0].body
    else:
        assert (reply.status, reply.json["error"]["code"]) == (403, "privacy_local_only")
        assert not cloud.chats


def test_what_holds_no_name_may_leave_at_level_high(naming, cloud):
    cloud.script(Answer(text="ok"))
    assert naming.chat(PLAIN, model="openai:gpt-4o-mini", headers={"x-pointsman-privacy": "high"}).status == 200


def test_a_preview_says_what_was_found(naming):
    found = _preview(naming, NAMED)
    assert (found["detectors"], found["classes"]) == ([PERSON], ["contact"])
    assert not _preview(naming, PLAIN)["detectors"]


def test_a_killed_model_is_started_anew_and_what_was_read_is_remembered(naming):
    known = "Ask Desmond Okonjo about the invoice."
    assert PERSON in _preview(naming, known)["detectors"]
    workers = [child for child in psutil.Process(naming.process.pid).children() if "worker.py" in str(child.cmdline())]
    assert len(workers) == 1
    os.kill(workers[0].pid, signal.SIGSTOP)
    try:
        assert PERSON in _preview(naming, known)["detectors"]
        started = time.monotonic()
        assert _preview(naming, "Ask Rosalind Pemberton instead.", "high")["local_only"]
        assert time.monotonic() - started < 30
    finally:
        with contextlib.suppress(ProcessLookupError):  # the gateway has ended it
            os.kill(workers[0].pid, signal.SIGCONT)
    _until_it_reads(naming, "Ask Rosalind Pemberton instead.")


def test_without_the_model_high_stays_local_and_standard_goes(settings, extra, cloud, tmp_path):
    tree = {**settings, "cache_dir": str(tmp_path / "cache"), "privacy": {"named_entities": True}}
    nowhere = {**extra, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}
    with running(tmp_path / "gateway", tree, env=nowhere) as gateway:
        found = _preview(gateway, NAMED, "high")
        assert (found["detectors"], found["local_only"]) == ([UNCHECKED], True)
        cloud.script(Answer(text="ok"))
        assert gateway.chat(NAMED, model="openai:gpt-4o-mini").status == 200
        assert not _preview(gateway, "no name can stand here", "high")["local_only"]


def test_the_measured_quality_holds(finder):
    known, heldout = score_people("known", finder), score_people("heldout", finder)
    assert known.kept.hits == known.kept.total
    assert known.detectors[0].recall.value > 0.85
    assert heldout.kept.value > 0.95
    assert heldout.detectors[0].recall.value > 0.78


def test_the_gateways_own_source_has_no_people(finder):
    sources = list((Path(__file__).parents[2] / "src").rglob("*.py"))
    assert len(sources) > 200
    for path in sources:
        named = passages(path.read_text(encoding="utf-8"))
        found = [span for spans in (finder(named) if named else []) for span in spans if is_name(span)]
        assert not found, (path, found)


def test_a_damaged_file_is_fetched_again(extra, tmp_path):
    environment = {**os.environ}
    folder = asyncio.run(ensure(tmp_path, environment))
    assert folder == folder_of(tmp_path)
    (folder / "ner" / "model").write_bytes(b"other weights")
    assert not intact(tmp_path)
    asyncio.run(ensure(tmp_path, environment))
    assert intact(tmp_path)


def test_time_is_bounded(finder):
    started = time.monotonic()
    with pytest.raises(ModelAway):
        finder(["Ask Margaret Holloway about the tall tale of the ship. " * 2000] * 60)
    assert time.monotonic() - started < 30
    while time.monotonic() - started < 90:
        with contextlib.suppress(ModelAway):
            assert finder(["Ask Margaret Holloway."]) == [["Margaret Holloway"]]
            return
    raise AssertionError("the model did not come back")


def test_a_message_full_of_names_is_not_read_and_counts_as_unchecked():
    with pytest.raises(ModelAway):
        passages("".join(f"Ask Margaret Holloway about item {number}.\n" for number in range(10_000)))


def test_a_plain_gateway_imports_none_of_it(extra):
    code = (
        "import sys, pointsman, pointsman.app.gateway\n"
        "heavy = ('spacy', 'numpy', 'pointsman.providers.entities')\n"
        "assert not [name for name in sys.modules if name.startswith(heavy)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **extra})
