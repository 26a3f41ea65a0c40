"""What a LiteLLM proxy tells of its models (`GET /v1/model/info`), as far as it belongs on a card."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.providers.price_row import MODES, Row, row_of


class _Deployment(msgspec.Struct):
    model_name: str = ""
    model_info: dict[str, Any] = {}


class _Deployments(msgspec.Struct):
    data: list[_Deployment] = []


class Known(NamedTuple):
    """What is known of a model."""

    row: Row | None
    """None where it is of a kind that cannot be asked here: images, sound, a ranking."""
    wild: bool
    """Whether it is one of many that a wildcard stands for."""

    def applied(self, card: ModelCard) -> ModelCard:
        """The card with what LiteLLM tells."""
        row = self.row
        if row is None:
            return msgspec.structs.replace(card, capabilities=frozenset(), routable=False)
        fields: dict[str, Any] = {**({} if card.local else row.price_fields()), **row.size_fields()}
        if row.mode != "chat" or row.can:
            fields["capabilities"] = row.capabilities
        card = msgspec.structs.replace(card, **fields)
        return card if "chat" in card.capabilities else msgspec.structs.replace(card, routable=False)


def known_models(raw: bytes) -> dict[str, Known]:
    """Model name → what is told of it; of several deployments of a name the dearest.

    Raises:
        msgspec.MsgspecError: it is no such answer.
    """
    told = msgspec.json.decode(raw, type=_Deployments).data
    # A wildcard's models all have the id of the one deployment that stands for them.
    shared = Counter(str(entry.model_info.get("id")) for entry in told)
    found: dict[str, Known] = {}
    for entry in told:
        info = {key: value for key, value in entry.model_info.items() if value is not None}
        known = Known(_row(info), wild=shared[str(info.get("id"))] > 1)
        before = found.get(entry.model_name)
        if before is None or _dearness(known) > _dearness(before):
            found[entry.model_name] = known
    return found


def _row(info: dict[str, Any]) -> Row | None:
    mode = info.get("mode") or "chat"
    if not isinstance(mode, str) or mode not in MODES:
        return None
    row = row_of(info) or Row(mode=mode)
    if "chat" in row.capabilities and _takes_logprobs(info):
        row = msgspec.structs.replace(row, can=(*row.can, "logprobs"))
    # A price of 0 is what it says of a model whose price it does not know.
    return row if row.price_input or row.price_output else msgspec.structs.replace(row, price_input=None)


def _takes_logprobs(info: dict[str, Any]) -> bool:
    parameters = info.get("supported_openai_params")
    return isinstance(parameters, list) and "logprobs" in parameters


def _dearness(known: Known) -> int:
    row = known.row
    return -1 if row is None else (row.price_input or 0) + (row.price_output or 0)
