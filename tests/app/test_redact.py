"""No token gets out: not through what LiveKit says, nor through any logger."""

from __future__ import annotations

import json
import logging
from typing import Literal

import pytest
import structlog
from livekit.api import AccessToken, VideoGrants

from app import redact
from app.logging import configure_logging
from app.redact import HIDDEN, LONGEST, said, without_tokens
from app.rtc.refusal import JoinError, TokenRefused, refusal

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
        "app.rtc.measure.participant, tests.e2e.test_room_life",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert without_tokens(text) == said(text) == text


def test_what_another_server_says_is_one_short_line() -> None:
    assert said(f"no\0\x1b[31m\n{TOKEN}\u2028 ever ") == f"no [31m {HIDDEN} ever"
    assert len(said(f"{TOKEN} " + "x" * 100_000)) == LONGEST + 1


HEAD, PAYLOAD, SIGNATURE = TOKEN.split(".")
SPACED = " ".join(TOKEN[at : at + 40] for at in range(0, len(TOKEN), 40))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"invalid: {SPACED}!", f"invalid: {HIDDEN}!"),
        (SPACED.replace(" ", "\r\n\t"), HIDDEN),
        (TOKEN.replace(".", "\u200b.\u200b"), HIDDEN),
        (f"payload {PAYLOAD[3:]} signed {SIGNATURE}.", f"payload {HIDDEN} signed {HIDDEN}."),
        (f"{HEAD} / {PAYLOAD} / {SIGNATURE}", HIDDEN),
        ("client error: 403 Forbidden, not for /rtc/validate", None),
        ("", None),
    ],
)
def test_of_the_token_it_was_told_a_server_repeats_nothing(text: str, left: str | None) -> None:
    assert said(text, TOKEN) == (text if left is None else left)


def test_of_a_text_without_end_only_the_beginning_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[int] = []
    monkeypatch.setattr(redact, "without", lambda text, _: looked_at.append(len(text)) or text)
    assert len(redact.said("a word " * 1_000_000, "secret")) == redact.LONGEST + 1
    assert looked_at == [redact.READ]


def test_only_unauthorized_is_final() -> None:
    error = refusal(REFUSED, TOKEN)
    assert isinstance(error, TokenRefused)
    assert TOKEN not in str(error)
    assert HIDDEN in str(error)
    for message in (
        "engine: signal failure: client error: 404 Not Found - 401",
        "engine: signal failure: server error: 500 Internal Server Error - client error: 401 ",
        "engine: signal failure: client error: 429 Too Many Requests",
        "engine: connection error: timeout",
    ):
        error = refusal(message, TOKEN)
        assert type(error) is JoinError
        assert str(error) == message.strip()


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
    assert written.count(HIDDEN) >= 13
    assert "error while connecting: engine: signal failure" in written
    if style == "json":
        assert all(json.loads(line) for line in written.splitlines())
