"""A client of a running gateway, for the commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from pointsman.core import errors
from pointsman.core.events import Body, Delta, Frames, chunks, deltas, payloads
from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts
from pointsman.dialects.sse import FrameBuffer
from pointsman.transport.http import Headers, Origin, Outbound, UpstreamRequest, UpstreamResponse, header

from .own_key import KeyFor

GATEWAY = Destination(model="gateway", local=True)
QUICK = Timeouts(connect=2.0, first_byte=30.0, between_bytes=30.0, total=60.0)
PATIENT = Timeouts(connect=2.0, first_byte=900.0, between_bytes=300.0, total=3600.0)
"""For answers: the gateway has time-outs of its own, which say more than ours could."""

BY_STATUS: Mapping[int, type[errors.PointsmanError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    413: errors.BodyTooLarge,
    429: errors.RateLimited,
    502: errors.UpstreamError,
    503: errors.Overloaded,
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the `x-pointsman-*` headers of an answer say."""

    decision: str | None = None
    model: str | None = None
    provider: str | None = None
    intent: str | None = None
    reason: str | None = None
    estimated_cost_usd: Decimal | None = None

    @classmethod
    def of(cls, headers: Headers) -> Facts:
        def text(name: str) -> str | None:
            value = header(headers, b"x-pointsman-" + name.encode())
            return value.decode("latin-1") if value is not None else None

        try:
            cost = Decimal(text("estimated-cost-usd") or "")
        except InvalidOperation:
            cost = None
        names = ("decision", "model", "provider", "intent", "reason")
        return cls(estimated_cost_usd=cost, **{name: text(name) for name in names})


class ChatAnswer:
    """An answer whose head has come. Iterate `deltas` once; closing the iterator stops the answer."""

    def __init__(self, response: UpstreamResponse, *, stream: bool) -> None:
        self.facts = Facts.of(response.headers)
        self.id: str | None = None
        """The id in the answer's body, once its first piece has come."""
        self._response = response
        self._stream = stream

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The answer's text, usage and end, in order.

        Raises:
            PointsmanError: the gateway ended the answer with an error, or broke off.
        """
        try:
            async for event in self._events():
                for chunk in chunks(event):
                    self.id = self.id or chunk.id
                    if chunk.error is not None:
                        raise error_of(502, chunk.error)
                for delta in deltas(event):
                    yield delta
        finally:
            self._response.close()

    async def _events(self) -> AsyncIterator[Frames | Body]:
        if not self._stream:
            yield Body(await self._response.read())
            return
        frames = FrameBuffer()
        async for block in self._response:
            if raw := frames.feed(block):
                yield Frames(raw)
        if frames.partial or not frames.done:
            raise errors.UpstreamBroken("The gateway broke off in the middle of the answer.")


class GatewayClient:
    """Calls one gateway."""

    def __init__(self, url: str, *, api_key: str | KeyFor | None, outbound: Outbound) -> None:
        """
        Args:
            api_key: the key to send, or what makes one for the gateway's host and port.

        Raises:
            SettingsError: the address is not an http:// or https:// one.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise errors.SettingsError("--url", url, "must be the gateway's address, such as http://127.0.0.1:8000")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._origin = Origin(
            scheme=parts.scheme, host=parts.hostname, port=port or (443 if parts.scheme == "https" else 80)
        )
        self._headers = [
            (b"host", parts.netloc.rpartition("@")[2].encode()),
            (b"content-type", b"application/json"),
            (b"user-agent", b"pointsman-cli"),
        ]
        self._api_key = api_key
        self._outbound = outbound

    async def alive(self) -> bool:
        """Whether a gateway answers at the address."""
        try:
            return "status" in await self.get("/api/health")
        except (errors.PointsmanError, TypeError):
            return False

    async def get(self, path: str) -> Any:
        """A JSON answer. Raises the typed error of the gateway's answer."""
        return await self._json("GET", path, b"")

    async def post(self, path: str, fields: Mapping[str, Any]) -> Any:
        """The JSON answer to a JSON body. Raises the typed error of the gateway's answer."""
        return await self._json("POST", path, msgspec.json.encode(fields))

    async def decision(self, identifier: str) -> dict[str, Any]:
        """A decision with its `outcome` and `feedback`, by its id or that of its answer."""
        record: dict[str, Any] = await self.get(f"/api/v1/decisions/{quote(identifier, safe='')}")
        return record

    async def latest_decision(self) -> dict[str, Any]:
        """The record of the latest decision. Raises NotFound when there is none."""
        listed = (await self.get("/api/v1/decisions?limit=1"))["data"]
        if not listed:
            raise errors.NotFound("There is no decision yet.")
        return await self.decision(listed[0]["id"])

    async def model_names(self) -> list[str]:
        """Ids that a request may name."""
        listed = await self.get("/v1/models")
        return [str(model["id"]) for model in listed["data"]]

    async def chat(self, fields: Mapping[str, Any]) -> ChatAnswer:
        """Ask for an answer; returns when its head has come. Raises the typed error of the gateway's answer."""
        response = await self._send("POST", "/v1/chat/completions", msgspec.json.encode(fields), PATIENT)
        return ChatAnswer(response, stream=bool(fields.get("stream")))

    async def events(self, path: str, fields: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What a running piece of work tells of itself, event by event. Closing the generator ends it.

        Raises the typed error of the gateway's answer, or of an event that tells one.
        """
        response = await self._send("POST", path, msgspec.json.encode(fields), PATIENT)
        try:
            frames = FrameBuffer()
            async for block in response:
                for payload in payloads(frames.feed(block)):
                    event = msgspec.json.decode(payload)
                    if "error" in event:
                        raise error_of(502, event["error"])
                    yield event
        except msgspec.MsgspecError:
            raise errors.UpstreamProtocolError(f"{self.url}{path} did not answer with events.") from None
        finally:
            response.close()

    async def _json(self, method: str, path: str, body: bytes) -> Any:
        response = await self._send(method, path, body, QUICK)
        try:
            return msgspec.json.decode(await response.read())
        except msgspec.MsgspecError:
            raise errors.UpstreamProtocolError(f"{self.url}{path} did not answer with JSON.") from None
        finally:
            response.close()

    async def _send(self, method: str, path: str, body: bytes, timeouts: Timeouts) -> UpstreamResponse:
        key = self._api_key(self._origin.host, self._origin.port) if callable(self._api_key) else self._api_key
        request = UpstreamRequest(
            destination=GATEWAY,
            local_only=False,
            origin=self._origin,
            method=method,
            target=self._base + path,
            headers=[*self._headers, (b"authorization", f"Bearer {key}".encode())] if key else self._headers,
            body=body,
            timeouts=timeouts,
        )
        try:
            response = await self._outbound.send(request)
        except (errors.UpstreamConnectError, errors.UpstreamClosed) as error:
            reason = ""
            if self._origin.scheme == "https":  # a certificate that is not trusted, or another name's
                reason = f" {error.message} A certificate of your own is trusted with --ca-file FILE, under its name."
            raise errors.UpstreamConnectError(
                f"No gateway answers at {self.url}.{reason}", code="gateway_unreachable"
            ) from error
        except errors.UpstreamProtocolError as error:
            raise errors.UpstreamProtocolError(f"What answers at {self.url} is not a gateway.") from error
        except errors.UpstreamTimeout as error:
            raise errors.UpstreamError(f"The gateway at {self.url} does not answer in time.") from error
        if response.status < 400:
            return response
        try:
            found = msgspec.json.decode(await response.read())["error"]
        except (msgspec.MsgspecError, KeyError, TypeError, errors.UpstreamError):
            found = f"What answers at {self.url} said {response.status} to {method} {path}; it may not be a gateway."
        finally:
            response.close()
        raise error_of(response.status, found, header(response.headers, b"retry-after"))


@asynccontextmanager
async def connect(url: str, api_key: str | KeyFor | None, ca_file: str | None = None) -> AsyncIterator[GatewayClient]:
    """A client with a connection pool of its own; `ca_file` names PEM certificates to trust beside the public ones."""
    from pointsman.transport.pool import Pool

    pool = Pool(ca_file=ca_file)
    try:
        yield GatewayClient(url, api_key=api_key, outbound=pool)
    finally:
        await pool.close()


def error_of(status: int, found: Any, retry_after: bytes | None = None) -> errors.PointsmanError:
    """The typed error for an `error` object of the gateway, in OpenAI's shape or that of `/api/v1`."""
    fields = found if isinstance(found, dict) else {"message": found}
    kind = BY_STATUS.get(status) or (errors.RequestError if status < 500 else errors.UpstreamError)
    details = fields.get("details")  # on /api/v1 the finer code stands there
    code = (details.get("reason") if isinstance(details, dict) else None) or fields.get("code")
    message = str(fields.get("message") or f"The gateway answered {status}.")
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    if seconds and "ry again in " not in message:
        message = f"{message.rstrip('.')}. Try again in {seconds:.0f} s."
    return kind(message, code=str(code) if code else None, param=fields.get("param"), retry_after=seconds)
