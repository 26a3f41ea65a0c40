"""One stream out of what several models say one after another, when each breaks off and the next goes on.

While all is well, little is done: references to the bytes that went out are kept, and a search tells whether a tool
call begins. They are read when a model breaks off. The next one is then asked for the rest, and its chunks become
chunks of the answer that was begun: the same id, no second role, one end.

What the caller has of an answer is known as the model wrote it, before originals take the place of placeholders. So a
remote model that goes on sees placeholders alone; and what a model wrote that was shown the originals is never sent to
one that is not.
"""

from __future__ import annotations

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import PrivacyWall, UpstreamBroken, UpstreamProtocolError
from pointsman.core.events import Event, Frames, Usage
from pointsman.core.mask import Mask
from pointsman.core.request import NOTHING, ChatRequest
from pointsman.pipeline.execute.heard import MOST, Heard, written

from .asked import again, by_prefill, goes_on, left_of, wants_json
from .continuation import Continuation
from .held import ChatCalls, HeldCalls, merged
from .seam import Seam
from .telling import InChat, Telling, telling_for
from .told import Told

_OTHER_FORMS = frozenset({"audio", "functions"})
"""Fields that ask for what is no text and no call of a tool."""


class Splice:
    """Joins the attempts at one streamed answer.

    For each attempt `asks` says what its model is asked, `passes` takes its events in turn, and `end` its good end. In
    between, when it broke off, `whole` and `can_go_on` say what may follow.

    Args:
        request: as the caller asked.
        mask: where remote models see placeholders.
    """

    goes_on = prefilled = False
    """Whether the model of this attempt was asked to go on with a text, and whether by prefill."""
    _lost = False
    """Whether what was told is too much to be gone on with, or cannot be read."""
    _size = _before = 0
    """Bytes that went out, and those of earlier attempts."""
    _beside = 0
    """Bytes of text that the model of this attempt was shown of what others had told."""
    _density = 0.0
    """Of what was too much to be kept: the share that is text."""
    _clear = False
    """Whether a model that was shown the originals has told something."""
    _shown = False
    """Whether the model of this attempt is shown them."""
    _sign: bytes | None = None
    """Of a tool call; None while events must be looked at otherwise."""
    _held: HeldCalls | None = None
    _continuation: Continuation | None = None
    _heard: Heard
    """Everything that a model said that goes on, of which the caller is told a part."""

    def __init__(self, request: ChatRequest, mask: Mask | None = None) -> None:
        self._request = request
        self._mask = mask
        self.holds = self._joined = _may_be_joined(request)
        """Whether another model may go on after this attempt, so that tool calls are told only when they are whole."""
        self._told = Told()
        self._telling: Telling = InChat()
        self._kept: list[bytes] = []

    @property
    def begun(self) -> bool:
        """Whether the caller has been told something, so that another model must go on rather than begin."""
        return bool(self._kept) or self._told.begun

    def asks(self, card: ModelCard, asked: ChatRequest, mask: Mask | None = None) -> ChatRequest:
        """What the model of the next attempt is asked.

        Args:
            asked: what it would be asked at the beginning.
            mask: given where the model is shown the originals, and others are not.

        Raises:
            PrivacyWall: the answer so far holds what this model must not see.
        """
        self._settle()
        self._before, self._beside = self._size, 0
        self._held = self._continuation = self._sign = None
        self.goes_on = self.prefilled = False
        self._shown = mask is not None
        told = self._told
        if not told.begun:
            self._telling = InChat()
            self._clear = False
            return asked
        if self._clear and mask is None:
            raise PrivacyWall("What was told of this answer must stay on this machine.")
        self._heard = Heard()
        json = wants_json(asked)
        text = told.text
        if mask is not None:
            text = mask.restore(text, escaped=mask.json_answer)
        if not text.strip():
            self._continuation = Continuation(told, None, apart=self._telling.one_thought)
            self._telling.resume()
            return again(asked)
        self._beside = len(text.encode("utf-8", "replace"))
        self.goes_on, self.prefilled = True, (prefill := by_prefill(asked, card))
        self._continuation = Continuation(told, Seam(text, prefill=prefill, json=json), json=json)
        self._telling.resume()
        return goes_on(asked, text, card, prefill=prefill)

    def passes(self, event: Event) -> Event | None:
        """What may go out of an event now.

        Raises:
            UpstreamError: the attempt is of no use any more.
        """
        sign, raw = self._sign, event.raw
        if sign is not None and event.finish_reason is None and sign not in raw:  # most events
            self._kept.append(raw)
            self._size = size = self._size + len(raw)
            if size > MOST:
                self._lose()
            return event
        if not isinstance(event, Frames) or not self._joined:
            self._keep(raw)
            return event
        if event.finish_reason == "error" and self.holds:
            raise UpstreamBroken("The model's provider ended its answer with an error.")
        passed: Frames | None = event
        if self._continuation is not None:
            self._heard.passes(event)
            passed = self._continuation.feed(event)
        if self._held is None:
            if self._continuation is None:
                self._telling = telling_for(event.dialect, self._request)
            self._held = HeldCalls(self._telling.calls() if self._continuation is None else ChatCalls())
        if passed is not None and (self.holds or self._held.holding):
            passed = self._held.pass_on(passed)
        told = None if passed is None else self._out(passed)
        plain = self._continuation is None and not self._held.holding
        self._sign = self._held.sign if plain and self._kept else None
        return told

    def end(self) -> Event | None:
        """What was held back of an answer that has ended well. Raises as `passes`."""
        rest = [self._continuation.end() if self._continuation is not None else None]
        rest.append(self._held.release() if self._held is not None else None)
        told = [self._out(frames) for frames in rest if frames is not None]
        if self._continuation is not None and (closing := self._telling.end()) is not None:
            told.append(closing)
        return merged(told) if told else None

    def took(self) -> tuple[int, int]:
        """See `ask.Joins`. After `whole` and `can_go_on` it is no longer known."""
        if self._continuation is not None:
            _, wrote = self._heard.took()
            return self._beside, wrote
        if self._lost:
            return self._beside, int(self._density * (self._size - self._before))
        held = self._held.raw if self._held is not None else b""
        return self._beside, written(b"".join(self._kept) + held)

    def can_go_on(self, card: ModelCard) -> bool:
        """Whether a model may go on with what was told, after a break."""
        if not self._joined:
            return False
        self._settle()
        told = self._told
        if self._lost:
            return False
        if not told.begun:
            return True
        return not (told.strange or told.finish or told.calls or (self._clear and not card.local))

    def whole(self, usage: Usage | None = None) -> Frames | None:
        """After a break: what is left to tell of an answer that needs no other model any more, because it had come to
        its end, or to its bound, or called its tools. None: it is not whole.

        Args:
            usage: what the last attempt took; callers who asked for it are told where its model could not any more.
        """
        if not self._joined:
            return None
        self._settle()
        told = self._told
        if self._lost or not told.begun or told.strange:
            return None
        if told.finish:
            return self._closed(None, usage)
        if told.calls:  # those that were not held back may have broken off in the middle
            return self._closed("tool_calls", usage) if self.holds else None
        left = left_of(self._request, told.text)
        bounded = left is not None and left <= 0 and told.text
        return self._closed("length", usage) if bounded else None

    def _closed(self, finish: str | None, usage: Usage | None) -> Frames | None:
        """The end of the answer as it stands; None where what was told of it cannot be ended."""
        try:
            return self._telling.close(self._told, finish, usage if self._request.wants_usage else None)
        except UpstreamProtocolError:
            self._lost = True
            return None

    def _out(self, event: Frames) -> Frames:
        """Keep what goes out, in the caller's form."""
        if self._continuation is not None:
            event = self._telling.written(event)
        self._keep(event.raw)
        return event

    def _keep(self, raw: bytes) -> None:
        if not raw:
            return
        if self._shown:
            self._clear = True
        self._size += len(raw)
        if self._lost:
            return
        self._kept.append(raw)
        if self._size > MOST:
            self._lose()

    def _lose(self) -> None:
        """Keep nothing of this answer any more."""
        kept = b"".join(self._kept)
        self._density = written(kept) / len(kept)
        self._kept.clear()
        self._sign = None
        self._lost, self.holds = True, False

    def _settle(self) -> None:
        """Read what went out since this was last done."""
        if self._kept:
            raw = b"".join(self._kept)
            self._kept.clear()
            try:
                self._told = self._telling.read(raw, self._told)
            except UpstreamProtocolError:
                self._lost = True
                return
            if self._mask is not None and not self._shown:  # a placeholder's beginning was held back, and is not told
                self._told.text = self._mask.split(self._told.text)[0]


def _may_be_joined(request: ChatRequest) -> bool:
    """Whether an answer to this is one text that another model could go on with."""
    params = request.params
    if request.kind != "chat" or not request.stream or (params.n or 1) > 1 or params.logprobs:
        return False
    fields = request.fields
    return _OTHER_FORMS.isdisjoint(fields) or all(bytes(fields.get(name, NOTHING)) == b"null" for name in _OTHER_FORMS)
