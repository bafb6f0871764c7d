"""No token gets out: not through what LiveKit says, nor through any logger."""

from __future__ import annotations

import json
import logging
from typing import Literal

import pytest
import structlog
from livekit.api import AccessToken, VideoGrants

from app.rtc.sdk.refusal import UNKNOWN, JoinError, TokenRefused, refusal
from app.telemetry.logging import configure_logging
from app.telemetry.redact import HIDDEN, without_answers, without_tokens

GRANTS = VideoGrants(room_join=True, room="r")
TOKEN = AccessToken("key", "s" * 32).with_identity("i").with_grants(GRANTS).to_jwt()
UNUSUAL = "IHsi" + TOKEN[3:]  # its header begins with a space
REFUSED = f"engine: signal failure: client error: 401 Unauthorized - invalid token: {TOKEN}, error"


@pytest.mark.parametrize("token", [TOKEN, UNUSUAL, TOKEN[:60]])
@pytest.mark.parametrize(
    "place", ["{}", "token: {}, error", "?access_token={}&x=1", "'{}'", "Bearer {}"]
)
def test_tokens_are_taken_out_and_the_rest_stays(place: str, token: str) -> None:
    assert without_tokens(place.format(token)) == place.format(HIDDEN)


@pytest.mark.parametrize(
    "text",
    [
        "engine: signal failure: client error: 503 Service Unavailable",
        "eyes-of-a-persona.example.org",
        "livekit_ffi::room_apis::server::room - error while connecting to a room",
        "bench.clients.participant, tests.e2e.test_room_life",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert without_tokens(text) == text


def test_only_unauthorized_is_final() -> None:
    error = refusal(REFUSED)
    assert isinstance(error, TokenRefused)
    assert str(error) == "it answered 401"
    for message, shown in (
        ("engine: signal failure: client error: 404 Not Found - 401", "it answered 404"),
        (
            "engine: signal failure: server error: 500 Internal Server Error - client error: 401 ",
            "it answered 500",
        ),
        ("engine: signal failure: client error: 429 Too Many Requests", "it answered 429"),
        ("engine: connection error: timeout", "no answer in time"),
        ("engine: something new: inside-secret", UNKNOWN),
    ):
        error = refusal(message)
        assert type(error) is JoinError
        assert str(error) == shown


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (REFUSED, "engine: signal failure: client error: 401 Unauthorized - [answer left out]"),
        (
            'failed to connect: Signal(Server(503, "inside \\"secret\\"\n")), retrying... (1/3)',
            'failed to connect: Signal(Server(503, "[answer left out]',
        ),
        ("error while connecting: engine: timeout - 3 s", None),
    ],
)
def test_log_lines_of_the_library_hold_no_answer(line: str, left: str | None) -> None:
    assert without_answers(line) == (line if left is None else left)


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_logger_writes_a_token(
    style: Literal["json", "console"], capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging(style, "debug")
    ours = structlog.get_logger("ours")
    ours.info("join failed", error=REFUSED, seen={"in": [TOKEN]})
    ours.bind(detail=TOKEN).warning(REFUSED)
    for name in ("livekit", "asyncio", "uvicorn.error"):
        logging.getLogger(name).error("error while connecting: %s", REFUSED)
        try:
            raise RuntimeError(REFUSED)
        except RuntimeError:
            logging.getLogger(name).exception("failed")
            ours.exception("failed", stack_info=True)
    written = capfd.readouterr().err
    assert TOKEN.split(".")[1] not in written
    assert TOKEN.split(".")[2] not in written
    assert written.count(HIDDEN) >= 9
    assert "error while connecting: engine: signal failure" in written
    if style == "json":
        assert all(json.loads(line) for line in written.splitlines())
