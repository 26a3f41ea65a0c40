"""The OpenAPI document is true: whatever is sent to an operation, fitting its schema or not, is answered with a status,
a content type and a body that the document tells of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as rules
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from .dialects_in import DIALECTS
from .running import Gateway, running
from .upstreams_in_trouble import Good

ADMIN = "pm-key-of-the-document-s-admin-0123456789"
ENTERED = {"authorization": f"Bearer {ADMIN}"}
EXAMPLES = 6
"""Of each operation, in each mode. What a stream holds is judged elsewhere: its schema is that of one of its events."""

VECTORS = {"name": "vectors", "capabilities": ["embeddings"]}
CODER = {"name": "coder", "capabilities": ["chat", "completion"]}
KNOWN = {
    **dict.fromkeys(("/v1/embeddings", "/api/embed", "/api/embeddings"), "lan:vectors"),
    "/v1/completions": "lan:coder",
}
"""The model that is named in place of any other, so that some requests are answered; of other paths the usual one."""

UNTRIED = {
    "/oauth/authorize": "answers with a page or a redirect that depends on who is signed in",
}

load_all_checks()
HELD: tuple[Any, ...] = tuple(
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "content_type_conformance",
        "status_code_conformance",
        "response_schema_conformance",
    )
)


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(settings: dict[str, Any], tmp_path_factory):
    lan = {**settings["providers"]["lan"], "models": [*settings["providers"]["lan"]["models"], VECTORS, CODER]}
    settings = {**settings, "providers": {**settings["providers"], "lan": lan}}
    tree = {**settings, "server": {"admin_keys": [ADMIN], "data_plane": "native"}}
    with running(tmp_path_factory.mktemp("documented"), tree) as gateway:
        yield gateway


def test_every_operation(gateway: Gateway, cloud, lan):
    document = gateway.ask("GET", "/openapi.json", headers=ENTERED).json
    lan.default = Good()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=gateway.url)
    wrong: list[str] = []
    tried = 0
    answered: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in UNTRIED:
            continue
        breakable = operation.body or operation.query  # a path's text and an empty request fit whatever they are
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if breakable else (GenerationMode.POSITIVE,):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _try(strategy, KNOWN.get(operation.path, "fast"), answered)
                tried += 1
            except (Exception, BaseExceptionGroup) as error:
                wrong.append(f"{operation.label}, {mode.value}: {_told(error)[:900]}")
    assert tried + len(wrong) > 60
    assert not wrong, f"{len(wrong)}\n" + "\n\n".join(wrong)
    assert all(answered[dialect.path] for dialect in DIALECTS.values()), answered
    assert "failed unexpectedly" not in gateway.log_text
    assert gateway.ask("GET", "/api/v1/keys", headers=ENTERED).status == 200, "the admin still gets in"


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " | ".join(_told(each) for each in error.exceptions)
    return f"{type(error).__name__} {error}"


def _try(strategy: st.SearchStrategy[Any], model: str, answered: Counter[str]) -> None:
    @seed(20)
    @given(case=strategy)
    @rules(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = model
        answer = case.call(headers=ENTERED, timeout=20)
        answered[case.operation.path] += answer.status_code == 200
        streamed = answer.headers.get("content-type", [""])[0].startswith("text/event-stream")
        case.validate_response(answer, checks=list(HELD[:3] if streamed else HELD), headers=ENTERED)

    check()
