"""What is loaded at the first need of it is loaded in a thread, so that running streams do not stop."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from pointsman.core.caller import Caller
from pointsman.core.request import ChatRequest
from pointsman.pipeline.run import Pipeline, Wishes
from pointsman.pipeline.understand import ComplexityRules, FeatureReader, PrivacyRules, Understand


def asked(model: str, text: str = "hi") -> ChatRequest:
    return ChatRequest.build({"model": model, "messages": [{"role": "user", "content": text}]})


class Embedding:
    """Notes in which thread it is asked."""

    def __init__(self, *, broken: bool) -> None:
        self.threads: list[threading.Thread] = []
        self._broken = broken

    def __call__(self, text: str) -> np.ndarray:
        self.threads.append(threading.current_thread())
        if self._broken:
            raise OSError("no table")
        return np.ones(256, dtype=np.float32)


@pytest.mark.parametrize("broken", [False, True])
async def test_the_first_request_that_needs_a_vector_is_read_in_a_thread(broken):
    embedding = Embedding(broken=broken)
    understand = Understand(
        privacy=PrivacyRules(),
        complexity=ComplexityRules(),
        hash_key=b"k" * 32,
        windows=list,
        features=FeatureReader(embedding),
        chooses=lambda model: model == "auto",
    )
    unused: dict[str, Any] = dict.fromkeys(("decide", "shape", "execute", "record", "models", "unhealthy", "clock"))
    run = Pipeline(understand=understand, takes_long=understand.takes_long, **unused)
    caller = Caller(admin=True, role="admin")
    await run.understand(asked("a:named"), caller, Wishes())
    assert not embedding.threads
    for number in range(3):
        await run.understand(asked("auto", f"request {number}"), caller, Wishes())
    first, *later = embedding.threads
    assert first is not threading.main_thread()
    assert later == [threading.main_thread()] * 2
