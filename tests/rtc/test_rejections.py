"""Speech that is refused: answered and logged, however much of it comes."""

from __future__ import annotations

from structlog.testing import capture_logs

from app.rtc.input.rejections import MOST_LOGGED, Rejections


async def test_each_sender_is_logged_once_and_not_without_end() -> None:
    rejections = Rejections()
    with capture_logs() as lines:
        for _ in range(500):
            rejections.reject("stranger")
        assert [line["sender"] for line in lines] == ["stranger"]
        for number in range(500):
            rejections.reject(f"another {number}")
        assert len(lines) == MOST_LOGGED
    rejections.close()
