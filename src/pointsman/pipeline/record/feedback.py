"""What callers say of the answers they got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.outcome import Edit, Feedback, SuiteResult
from pointsman.core.ports import Clock, DecisionLog
from pointsman.core.request import invalid

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class SuiteReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run of tests on the answer gave: how many passed, and how many failed or how many there were."""

    passed: _Count
    failed: _Count | None = None
    total: _Count | None = None

    def read(self) -> SuiteResult:
        """
        Raises:
            InvalidRequest: the counts contradict one another, or there are none.
        """
        failed = self.failed
        if self.total is not None:
            if failed is not None and self.passed + failed != self.total:
                raise InvalidRequest("`passed` and `failed` do not add up to `total`.", param="tests.total")
            failed = self.total - self.passed
        if failed is None:
            raise InvalidRequest("`failed` or `total` is needed beside `passed`.", param="tests.failed")
        if failed < 0:
            raise InvalidRequest("More tests passed than there were.", param="tests.passed")
        if self.passed + failed == 0:
            raise InvalidRequest("No test ran, which says nothing of the answer.", param="tests")
        return SuiteResult(passed=self.passed, failed=failed)


class EditReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of an edit that the answer proposed."""

    accepted: bool
    kept_share: (
        Annotated[float, msgspec.Meta(ge=0, le=1, description="Share of it that was left as proposed.")] | None
    ) = None


PARTS = ("score", "thumb", "outcome", "tests", "edit")
"""At least one of them is needed."""


class FeedbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Feedback for a past answer: at least one of `score`, `thumb`, `outcome`, `tests` and `edit`. Twice for one answer
    replaces. Of several, what is measured counts before what is felt: tests, outcome, score, edit, thumb."""

    id: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=200,
            description="The decision's id (header `x-pointsman-decision`) or the answer's own. Some upstreams repeat"
            " their ids: the latest answer is then meant, so the decision's id is the sure one.",
        ),
    ]
    score: Annotated[float, msgspec.Meta(ge=0, le=1, description="0 is useless, 1 is perfect.")] | None = None
    thumb: Literal["up", "down"] | None = None
    outcome: Literal["success", "failure", "partial"] | None = None
    tests: SuiteReport | None = None
    edit: EditReport | None = None
    comment: Annotated[str, msgspec.Meta(max_length=4000)] | None = None

    @classmethod
    def parse(cls, body: bytes) -> FeedbackRequest:
        """Read a body.

        Raises:
            InvalidRequest: naming the field.
        """
        try:
            request = _decoder.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
        if all(getattr(request, part) is None for part in PARTS):
            raise InvalidRequest(
                "At least one of `score`, `thumb`, `outcome`, `tests` and `edit` is needed.", param="score"
            )
        if request.tests is not None:
            request.tests.read()
        return request


_decoder = msgspec.json.Decoder(FeedbackRequest)


class FeedbackStage:
    """Keeps feedback beside the decision that it judges.

    Args:
        holds_private: whether a text holds what the privacy setting does not let the log keep.
    """

    def __init__(
        self, *, log: DecisionLog, clock: Clock, holds_private: Callable[[str], bool] = lambda text: False
    ) -> None:
        self._log = log
        self._clock = clock
        self._holds_private = holds_private

    async def __call__(self, request: FeedbackRequest, caller: Caller) -> Feedback:
        """Keep feedback of a caller; returns what was kept.

        Raises:
            InvalidRequest: the comment holds what must not be kept.
            NotFound: there is no such answer, or it is not the caller's; the two cannot be told apart.
            StoreError: it could not be written.
        """
        if request.comment and self._holds_private(request.comment):
            raise InvalidRequest(
                "The comment holds private content, which is not kept here: take it out of the comment.",
                param="comment",
            )
        record = await self._log.get(request.id, caller=caller)
        if record is None:
            raise NotFound(
                "There is no answer with this id. Send the `x-pointsman-decision` header of the answer, or its `id`.",
                param="id",
            )
        tests, edit = request.tests, request.edit
        feedback = Feedback(
            decision_id=record["decision"]["id"],
            score=request.score,
            thumb=request.thumb,
            outcome=request.outcome,
            tests=tests.read() if tests is not None else None,
            edit=Edit(accepted=edit.accepted, kept_share=edit.kept_share) if edit is not None else None,
            comment=request.comment,
            created_at=self._clock.now(),
        )
        await self._log.feedback(feedback)
        return feedback
