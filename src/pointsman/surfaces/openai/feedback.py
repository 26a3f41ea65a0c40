"""`POST /v1/feedback`, and the same at `/api/v1/feedback`: what a caller says of a past answer."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pointsman.core.reward import success_of
from pointsman.pipeline.record import FeedbackRequest
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.schemas import json_body, ref
from pointsman.surfaces.services import Services


class KeptTests(BaseModel):
    passed: int
    failed: int


class KeptEdit(BaseModel):
    accepted: bool
    kept_share: float | None


class FeedbackKept(BaseModel):
    """What was kept."""

    object: Literal["feedback"] = "feedback"
    id: str = Field(description="The decision that the feedback is for.")
    score: float | None
    thumb: Literal["up", "down"] | None
    outcome: Literal["success", "failure", "partial"] | None
    tests: KeptTests | None
    edit: KeptEdit | None
    success: float = Field(description="What it says of the answer in all, in [0, 1]: the value that routing learns.")
    comment: str | None
    created_at: float = Field(description="Seconds since the epoch, UTC.")


def router(services: Services, path: str) -> APIRouter:
    routes = APIRouter(tags=["Feedback"])

    @routes.post(
        path,
        summary="Say how good an answer was",
        openapi_extra={"requestBody": {"required": True, **json_body(ref("FeedbackRequest"))}},
    )
    async def give_feedback(request: Request) -> FeedbackKept:
        """Names an answer by its decision's id or its own, and replaces what was said of it before."""
        body = FeedbackRequest.parse(await request.body())
        kept = await services.feedback(body, caller_of(request))
        tests, edit = kept.tests, kept.edit
        return FeedbackKept(
            id=kept.decision_id,
            score=kept.score,
            thumb=kept.thumb,
            outcome=kept.outcome,
            tests=KeptTests(passed=tests.passed, failed=tests.failed) if tests is not None else None,
            edit=KeptEdit(accepted=edit.accepted, kept_share=edit.kept_share) if edit is not None else None,
            success=success_of(kept)[0],
            comment=kept.comment,
            created_at=kept.created_at,
        )

    return routes
