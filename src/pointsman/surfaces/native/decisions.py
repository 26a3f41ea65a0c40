"""`GET /api/v1/decisions`: which model was chosen, and why. A key sees its own decisions, an admin all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from pointsman.core.errors import NotFound
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.schemas import json_body, ref
from pointsman.surfaces.services import Services


class DecisionSummary(BaseModel):
    """A decision in a line."""

    id: str
    created_at: float = Field(description="Seconds since the epoch, UTC.")
    requested_model: str
    model: str = Field(description="The model that was chosen; empty when the request was refused before.")
    answered_by: str | None = Field(description="The model that answered: another one when a fallback stepped in.")
    mode: str
    intent: str
    local_only: bool
    reason: str
    status: str | None = Field(description="`ok`, `error`, `refused` or `cancelled`; null while it runs.")
    error: str | None
    http_status: int | None
    answer_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    estimated_cost_micro_usd: int | None
    cost_micro_usd: int | None
    seconds: float | None
    feedback: bool = Field(description="Whether there is feedback for it.")


class DecisionList(BaseModel):
    """The latest decisions, newest first."""

    object: Literal["list"] = "list"
    data: list[DecisionSummary]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Decisions"])

    @routes.get("/api/v1/decisions", operation_id="list_decisions", summary="List the latest decisions")
    async def list_decisions(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> DecisionList:
        records = await services.log.recent(limit, caller=caller_of(request))
        return DecisionList(data=[_summary(record) for record in records])

    @routes.get(
        "/api/v1/decisions/{id}",
        operation_id="get_decision",
        summary="Explain a decision",
        response_model=None,
        responses={200: json_body(ref("LoggedDecision"), "The whole decision.")},
    )
    async def get_decision(request: Request, id: str) -> Response:
        """By its own id or by the id of the answer, of which some upstreams repeat theirs: the latest is then meant."""
        caller = caller_of(request)
        record = await services.log.get(id, caller=caller)
        if record is None:
            raise NotFound("There is no decision or answer with this id that you may see.", param="id")
        outcome = record["outcome"] if caller.admin else _without_places(record["outcome"])
        whole = {**record["decision"], "outcome": outcome, "feedback": record["feedback"]}
        return Response(msgspec.json.encode(whole), media_type="application/json")

    return routes


def _without_places(outcome: dict[str, Any] | None) -> dict[str, Any] | None:
    """An outcome whose attempts tell only the code of what failed: the words may name addresses."""
    if outcome is None:
        return None
    attempts = [
        {**attempt, "error": attempt["error"].partition(":")[0] if attempt["error"] else attempt["error"]}
        for attempt in outcome.get("attempts") or ()
    ]
    return {**outcome, "attempts": attempts}


def _summary(record: dict[str, Any]) -> DecisionSummary:
    decision, outcome = record["decision"], record["outcome"] or {}
    return DecisionSummary(
        id=decision["id"],
        created_at=decision["created_at"],
        requested_model=decision["requested_model"],
        model=decision["model"],
        answered_by=outcome.get("model"),
        mode=decision["mode"],
        intent=decision["signals"]["intent"],
        local_only=decision["signals"]["privacy"]["local_only"],
        reason=next(iter(decision["reasons"]), ""),
        status=outcome.get("status"),
        error=outcome.get("error"),
        http_status=outcome.get("http_status"),
        answer_id=outcome.get("answer_id"),
        prompt_tokens=outcome.get("prompt_tokens"),
        completion_tokens=outcome.get("completion_tokens"),
        estimated_cost_micro_usd=decision["estimated_cost_micro_usd"],
        cost_micro_usd=outcome.get("cost_micro_usd"),
        seconds=outcome.get("seconds"),
        feedback=record["feedback"] is not None,
    )
