"""What callers may put into paths and queries, and nothing of it is a fault of ours."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from app.errors import AppError
from app.rtc.sdk.tokens import read_claims
from app.sessions.repository import parse_cursor
from app.sessions.schemas import livekit_address
from tests.fixtures.api import Api

IDS = ("%00", "ses_%00", "%ff", "%ed%a0%80", "x" * 4000, "%F0%9F%98%80", "'--", "%0a", "..%00")
ROUTES = (
    ("GET", "/sessions/{}"),
    ("GET", "/sessions/{}?wait=ready&timeout=0.1"),
    ("DELETE", "/sessions/{}"),
    ("POST", "/sessions/{}/interrupt"),
    ("GET", "/sessions/{}/stats"),
    ("POST", "/sessions/{}/viewer-token"),
)


def encoded(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


CURSORS = (
    encoded("2026-01-01T00:00:00+00:00", "a\0b"),
    encoded("2026-01-01T00:00:00+00:00", "\ud800"),
    encoded("0001-01-01T00:00:00+23:59", "a"),
    encoded("9999-12-31T23:59:59-23:59", "a"),
    encoded(10**400, "a"),
    encoded(float("nan"), "a"),
    encoded("2026-01-01T00:00:00+00:00", float("inf")),
    encoded("2026-01-01T00:00:00+00:00", ["a"]),
    encoded({"a": 1}, None),
    base64.urlsafe_b64encode(b"[" * 300).decode(),
    base64.urlsafe_b64encode(b"9" * 300).decode(),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "é" * 20,
    "a",
    "=" * 40,
)
# Odd, but a place in the list all the same.
FAR = (
    encoded("0001-01-01T00:00:00+00:00", "a"),
    encoded("9999-12-31T23:59:59.999999+00:00", "x" * 200),
    encoded("2026-W01-1T00:00:00Z", ""),
)


async def test_ids_that_cannot_be(api: Api) -> None:
    for method, route in ROUTES:
        for each in IDS:
            answer = await api.http.request(method, route.format(each))
            told = (answer.status_code, answer.json()["code"])
            assert told == (404, "session_not_found"), (method, route, each)


async def test_cursors_made_by_hand(api: Api) -> None:
    await api.create()
    for cursor in CURSORS:
        answer = await api.http.get("/sessions", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), cursor
    for cursor in FAR:
        answer = await api.http.get("/sessions", params={"cursor": cursor})
        assert answer.status_code == 200, cursor


async def test_other_odd_queries(api: Api) -> None:
    huge = "9" * 400
    for query in (f"limit={huge}", f"limit=-{huge}", "limit=1e400", "limit=NaN", "state=%00"):
        answer = await api.http.get(f"/sessions?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), query
    for query in ("timeout=NaN", "timeout=inf", "timeout=-1", f"timeout={huge}", "wait=%00"):
        answer = await api.http.get(f"/sessions/x?{query}")
        assert answer.status_code == 422, query


ATOMS = st.sampled_from(
    (
        *("null", "true", "NaN", "-Infinity", "1e999", "-0", '""', "[]", "{}", "[[]]", '{"a": 1}'),
        *('"a"', '"\\u0000"', '"\\ud800"', '"é"', '"2026-01-01"', '"2026-01-01T00:00:00Z"'),
        *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"9999-12-31T24:00Z"'),
        *("9" * 400, "9" * 5000, "[" * 400, "[" * 5000, '"' + "x" * 5000 + '"', '{"a":' * 400),
    )
)
CLAIMS = '{"exp": %s, "nbf": %s, "sub": %s, "attributes": %s, "video": {"room": %s}}'
BODIES = st.one_of(
    st.binary(max_size=60),
    st.tuples(ATOMS, ATOMS).map(lambda two: f"[{two[0]}, {two[1]}]".encode()),
    st.tuples(*[ATOMS] * 5).map(lambda five: (CLAIMS % five).encode()),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(max_size=30).map("ws://{}".format),
    BODIES.map(lambda body: base64.urlsafe_b64encode(body).decode()),
    BODIES.map(lambda body: f"a.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.c"),
)


@pytest.mark.slow
@hypothesis.settings(max_examples=10_000, database=None, derandomize=True)
@hypothesis.given(text=TEXTS)
def test_ten_thousand_malformed_cursors_tokens_and_urls(text: str) -> None:
    for parse, refusal in (
        (parse_cursor, AppError),
        (read_claims, AppError),
        (livekit_address, ValueError),
    ):
        began = time.thread_time()
        with suppress(refusal):
            parse(text)
        assert time.thread_time() - began < 3
