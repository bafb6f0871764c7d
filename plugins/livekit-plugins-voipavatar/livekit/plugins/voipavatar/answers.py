"""Reads answers of the service, or of whatever else is at its address, within limits."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from livekit.agents import APIError, APIStatusError

LONGEST = 1 << 20  # bytes; a page of sessions is shorter
LONGEST_PAUSE_S = 30.0  # the longest wait that Retry-After can cause
AS_IT_IS = {"Accept-Encoding": "identity"}  # answers are not decompressed

Answer = dict[str, Any]


async def read(response: aiohttp.ClientResponse) -> str:
    """The body. Raises ValueError if the service cannot have sent it."""
    if 300 <= response.status < 400:
        raise ValueError("it redirects to another address: set VOIPAVATAR_API_URL to that one")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ValueError("its answer is compressed, though that was not requested")
    body = bytearray()
    async for block in response.content.iter_chunked(65_536):
        body += block
        if len(body) > LONGEST:
            raise ValueError("its answer is longer than any of the service's")
    return body.decode()


def answer_of(text: str, needs: tuple[str, ...]) -> Answer:
    """Raises ValueError."""
    answer = json.loads(text)
    if not isinstance(answer, dict) or not all(answer.get(key) is not None for key in needs):
        raise ValueError("what answers there is not a voipavatar service: see VOIPAVATAR_API_URL")
    return answer


def refusal(response: aiohttp.ClientResponse, text: str) -> APIStatusError:
    try:
        problem = json.loads(text)
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, detail = {}, text[:200] or str(response.reason)
    return APIStatusError(
        detail,
        status_code=response.status,
        request_id=response.headers.get("X-Request-Id"),
        body={**problem, "retry_after": response.headers.get("Retry-After")},
    )


def code_of(error: APIStatusError) -> str | None:
    return error.body.get("code") if isinstance(error.body, dict) else None


def retry_after(error: APIError) -> float | None:
    given = error.body.get("retry_after") if isinstance(error.body, dict) else None
    return min(float(given), LONGEST_PAUSE_S) if given and given.isdecimal() else None
