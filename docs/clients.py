"""The table of clients: read off the tests that drive them, so that it tells nothing that no test shows."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

CLIENTS = {
    "openai": ("The `openai` Python SDK", "`base_url`", "dev.txt", "openai"),
    "openai responses": ("The same, `client.responses`", "`base_url`", "dev.txt", "openai"),
    "anthropic": ("The `anthropic` Python SDK", "`base_url`", "dev.txt", "anthropic"),
    "ollama": ("The `ollama` Python client", "`OLLAMA_HOST`", "dev.txt", "ollama"),
    "llm": ("llm", "`api_base` in `extra-openai-models.yaml`", "clients/llm.txt", "llm"),
    "aider": ("aider", "`OPENAI_API_BASE`", "clients/aider.txt", "aider-chat"),
    "codex": ("Codex CLI", "a model provider in `config.toml`", "npm", "@openai/codex"),
    "claude code": ("Claude Code", "`ANTHROPIC_BASE_URL`", "npm", "@anthropic-ai/claude-code"),
    "agents sdk": ("OpenAI's Agents SDK", "`AsyncOpenAI(base_url=…)`", "clients/frameworks.txt", "openai-agents"),
    "langchain": ("LangChain", "`base_url` of its models", "clients/frameworks.txt", "langchain-openai"),
    "vercel": ("Vercel's AI SDK", "`baseURL` of its providers", "npm", "ai"),
}
"""Name in the tests' marks → title, how it is pointed at the gateway, where its version is pinned, its package."""

HEAD = """# Clients that are known to work

Generated from the test suite: each ✓ is a test that runs the official client against a real gateway in front of a
scripted upstream (`pytest.mark.shows`). What stands here without a mark may work; nobody has shown it.

| client | version | pointed here by |
|---|---|---|
"""


def page() -> str:
    shown: dict[str, set[str]] = {}
    for client, feature in marks():
        shown.setdefault(feature, set()).add(client)
    known = {client for clients in shown.values() for client in clients}
    columns = [name for name in CLIENTS if name in known]
    rows = [f"| {CLIENTS[name][0]} | {version(name)} | {CLIENTS[name][1]} |" for name in columns]
    table = [
        "| feature | " + " | ".join(CLIENTS[name][0] for name in columns) + " |",
        "|---|" + "---|" * len(columns),
        *(
            f"| {feature} | " + " | ".join("✓" if name in shown[feature] else "" for name in columns) + " |"
            for feature in sorted(shown)
        ),
    ]
    return HEAD + "\n".join([*rows, "", *table]) + "\n"


def marks() -> Iterator[tuple[str, str]]:
    """Every `pytest.mark.shows(client, feature)` in the tests.

    Raises:
        ValueError: a mark names a client that the table does not know.
    """
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.shows":
                client, feature = (ast.literal_eval(argument) for argument in node.args)
                if client not in CLIENTS:
                    raise ValueError(f"{path}:{node.lineno}: no client is called {client!r}")
                yield client, feature


def version(name: str) -> str:
    _, _, file, package = CLIENTS[name]
    folder = ROOT / "requirements"
    if file == "npm":
        lock = json.loads((folder / "clients" / "npm" / "package-lock.json").read_text())
        return str(lock["packages"][f"node_modules/{package}"]["version"])
    found = re.search(rf"^{re.escape(package)}==(\S+)", (folder / file).read_text(), re.MULTILINE)
    return found[1] if found is not None else "?"
