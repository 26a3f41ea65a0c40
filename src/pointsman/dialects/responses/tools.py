"""Tools and the choice among them: the flat form of OpenAI's Responses as the nested one of its chat.

What runs at OpenAI's side alone (web search, code interpreter, MCP …) stays among the tools as it came where the
request names a model whose upstream speaks Responses, and is refused by name elsewhere, with one exception. The Codex
CLI names `web_search` unless its configuration turns it off: beside tools of the caller's own, where the model may
choose freely, it is left out, and the answer's `x-pointsman-dropped` header tells so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.core.errors import InvalidRequest

from .names import TOOL_SEARCH, Known, flat_name
from .parts import plain_name

LEFT_OUT = frozenset({"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"})
HOSTED = LEFT_OUT | {"file_search", "code_interpreter", "image_generation", "mcp"}
"""Those that an upstream which speaks Responses runs by itself, and tells of in items."""
_READ = frozenset({"type", "name", "description", "parameters", "strict", "format", "defer_loading", "cache_control",
                   "async", "allowed_callers"})  # fmt: skip
"""Every tool is given to the model at once, one whose loading might be deferred too."""

Body = dict[str, Any]


class Tools:
    """The tools of one request, gathered.

    Args:
        hosts: whether the request names a model whose upstream runs tools of its own.
    """

    def __init__(self, *, hosts: bool = False) -> None:
        self._hosts = hosts
        self.hosted: list[Body] = []
        """Tools that the upstream runs, as they came."""
        self.chat: dict[str, Body] = {}
        """In the inner form, by flat name."""
        self.known: dict[str, Known] = {}
        self.dropped: list[str] = []
        self._hosted: list[str] = []

    def add(self, tools: Any, path: str) -> None:
        """Take in a list of tools that stands at `path`.

        Raises:
            InvalidRequest: one is none that can run here, or cannot be read.
        """
        if not isinstance(tools, list):
            raise _wrong(path, "a list is expected")
        for index, tool in enumerate(tools):
            self._add(tool, f"{path}[{index}]")

    def settle(self, choice: Any) -> None:
        """Leave out what may be left out, now that the choice is known.

        Raises:
            InvalidRequest: a hosted tool is all that the caller has, or its use is asked for.
        """
        for told in self._hosted:
            if not self.chat or choice not in (None, "auto"):
                path, _, kind = told.partition(" ")
                raise _hosted(f"{path}.type", kind)
            self.dropped.append(told)

    def _add(self, tool: Any, path: str, namespace: str | None = None, about: str = "") -> None:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind == "function" or kind == "custom":
            name = _name(tool, path)
            _refuse_modes(tool, path)
            known = Known(kind, name, namespace)
            made = _function(tool, path) if kind == "function" else _custom(tool, path)
            inner = made[kind]
            inner["name"] = flat_name(name, namespace)
            if about:
                inner["description"] = f"{about}\n\n{inner.get('description') or ''}".rstrip()
            self._keep(made, inner["name"], known, path)
            if "cache_control" in tool:
                made["cache_control"] = tool["cache_control"]
            left = [field for field in tool if field not in _READ]
            self.dropped += [f"{path}.{field}" if plain_name(field) else path for field in left]
        elif kind == "namespace" and namespace is None:
            inside = tool.get("tools")
            if not isinstance(inside, list):
                raise _wrong(f"{path}.tools", "a list is expected")
            for index, each in enumerate(inside):
                self._add(each, f"{path}.tools[{index}]", _name(tool, path), _text(tool, "description", path))
        elif kind == "tool_search" and tool.get("execution") == "client":
            inner = {"name": TOOL_SEARCH, **{f: tool[f] for f in ("description", "parameters") if tool.get(f)}}
            made = {"type": "function", "function": inner}
            self._keep(made, TOOL_SEARCH, Known("tool_search", TOOL_SEARCH), path)
        elif isinstance(kind, str) and self._hosts and kind in HOSTED and namespace is None:
            self.hosted.append(tool)
        elif isinstance(kind, str) and kind in LEFT_OUT and namespace is None:
            self._hosted.append(f"{path} {kind}")
        elif isinstance(kind, str):
            raise _hosted(f"{path}.type", kind)
        else:
            raise _wrong(f"{path}.type", "a text is expected")

    def _keep(self, made: Body, flat: str, known: Known, path: str) -> None:
        if self.known.setdefault(flat, known) != known:
            raise _wrong(path, "another tool has this name")
        self.chat[flat] = made  # the same tool, found anew by a search, replaces itself


def chosen(choice: Any, tools: Tools) -> tuple[Any, list[Body]]:
    """`tool_choice` in the inner form, and the tools that may be called.

    `allowed_tools` names some of the tools: only these are sent on, so that it holds with every upstream.

    Raises:
        InvalidRequest: a choice that is not known, or names a tool that is not there.
    """
    every = [*tools.chat.values(), *tools.hosted]
    if choice is None or isinstance(choice, str):
        if choice not in (None, "none", "auto", "required"):
            raise _wrong("tool_choice", "there is no such choice")
        if choice == "required" and not every:
            raise _wrong("tool_choice", "there are no tools to choose from")
        return choice, every
    if not isinstance(choice, Mapping):
        raise _wrong("tool_choice", "a text or an object is expected")
    kind = choice.get("type")
    if kind == "function" or kind == "custom":
        flat = _named(choice, tools, "tool_choice")
        return {"type": kind, kind: {"name": flat}}, every
    if kind == "tool_search" and TOOL_SEARCH in tools.chat:
        return {"type": "function", "function": {"name": TOOL_SEARCH}}, every
    if any(kind == tool["type"] for tool in tools.hosted):
        return choice, every
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    raise _hosted("tool_choice.type", kind) if isinstance(kind, str) else _wrong("tool_choice.type", "it is missing")


def _allowed(choice: Mapping[str, Any], tools: Tools) -> tuple[Any, list[Body]]:
    mode, names = choice.get("mode", "auto"), choice.get("tools")
    if mode not in ("auto", "required"):
        raise _wrong("tool_choice.mode", "`auto` or `required` is expected")
    if not isinstance(names, list) or not names:
        raise _wrong("tool_choice.tools", "a list of tools is expected")
    allowed, hosted = [], []
    for index, named in enumerate(names):
        path = f"tool_choice.tools[{index}]"
        kind = named.get("type") if isinstance(named, Mapping) else None
        if kind == "tool_search" and TOOL_SEARCH in tools.chat:
            allowed.append(TOOL_SEARCH)
        elif kind == "function" or kind == "custom":
            allowed.append(_named(named, tools, path))
        elif found := [tool for tool in tools.hosted if tool["type"] == kind]:
            hosted += [tool for tool in found if tool not in hosted]
        else:
            raise _hosted(f"{path}.type", str(kind))
    return mode, [*(tools.chat[flat] for flat in dict.fromkeys(allowed)), *hosted]


def _named(choice: Mapping[str, Any], tools: Tools, path: str) -> str:
    namespace = choice.get("namespace")
    flat = flat_name(_name(choice, path), namespace if isinstance(namespace, str) else None)
    known = tools.known.get(flat)
    if known is None or known.kind != choice.get("type"):
        raise _wrong(f"{path}.name", "none of `tools` has this name and type")
    return flat


def _function(tool: Body, path: str) -> Body:
    inner = {field: tool[field] for field in ("description", "parameters", "strict") if tool.get(field) is not None}
    if not isinstance(inner.get("parameters", {}), dict):
        raise _wrong(f"{path}.parameters", "an object is expected")
    return {"type": "function", "function": inner}


def _custom(tool: Body, path: str) -> Body:
    inner = {"description": tool["description"]} if tool.get("description") is not None else {}
    form = tool.get("format")
    if form is not None:
        kind = form.get("type") if isinstance(form, dict) else None
        if kind == "grammar":
            inner["format"] = {"type": "grammar", "grammar": {k: v for k, v in form.items() if k != "type"}}
        elif kind == "text":
            inner["format"] = form
        else:
            raise _wrong(f"{path}.format.type", "`text` or `grammar` is expected")
    return {"type": "custom", "custom": inner}


def _refuse_modes(tool: Body, path: str) -> None:
    """Ways of calling that need OpenAI's own runtime."""
    if tool.get("async"):
        raise _wrong(f"{path}.async", "calls that go on in the background are not known here")
    callers: Sequence[Any] | None = tool.get("allowed_callers")
    if callers and "direct" not in callers:
        raise _wrong(f"{path}.allowed_callers", "models call tools directly here")


def _name(tool: Mapping[str, Any], path: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(f"{path}.name", "a text is expected")
    return name


def _text(tool: Mapping[str, Any], field: str, path: str) -> str:
    text = tool.get(field)
    if text is not None and not isinstance(text, str):
        raise _wrong(f"{path}.{field}", "a text is expected")
    return text or ""


def _wrong(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid `{path}`: {reason}.", param=path)


def _hosted(path: str, kind: str) -> InvalidRequest:
    shown = kind if plain_name(kind) else "of this type"
    return InvalidRequest(
        f"Invalid `{path}`: a tool {shown} runs at OpenAI alone. Tools of the caller's own work here: function, custom,"
        " namespace, and tool_search with execution client.",
        param=path,
        code="unsupported_tool",
    )
