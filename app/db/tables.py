"""The tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.columns import Base, UtcTime

_LIVE = text("state IN ('starting', 'ready', 'ending')")
_ACTIVE = text("revoked_at IS NULL")


class InstanceRow(Base):
    """A process of the service, with what others need to tell whether it is alive."""

    __tablename__ = "instances"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(300))  # host name and process namespace
    pid: Mapped[int] = mapped_column(Integer)
    process_started: Mapped[float] = mapped_column(Float)  # seconds since 1970
    started_at: Mapped[datetime] = mapped_column(UtcTime)
    heartbeat_at: Mapped[datetime] = mapped_column(UtcTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UtcTime)


class SessionRow(Base):
    """A session, without its token; `external` means that the caller supplied one."""

    __tablename__ = "sessions"
    __table_args__ = (
        # At most one live session per avatar key, even with concurrent requests.
        Index(
            "uq_sessions_live_key",
            "livekit_url",
            "room",
            "identity",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        Index("ix_sessions_created_at_id", "created_at", "id"),
        Index("ix_sessions_state", "state"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    instance_id: Mapped[str] = mapped_column(ForeignKey("instances.id"))
    state: Mapped[str] = mapped_column(String(16))
    room: Mapped[str] = mapped_column(Text)
    persona: Mapped[str] = mapped_column(Text)
    identity: Mapped[str] = mapped_column(Text)
    livekit_url: Mapped[str] = mapped_column(Text)
    external: Mapped[bool]
    audio: Mapped[dict[str, Any]] = mapped_column(JSON)
    video: Mapped[dict[str, Any]] = mapped_column(JSON)
    limits: Mapped[dict[str, Any]] = mapped_column(JSON)
    caller_metadata: Mapped[Any] = mapped_column("metadata", JSON(none_as_null=True), nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    ready_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    end_reason: Mapped[str | None] = mapped_column(String(40))
    error_code: Mapped[str | None] = mapped_column(String(40))
    error_detail: Mapped[str | None] = mapped_column(Text)
    stats: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # at the end


class SessionEventRow(Base):
    """A state transition. Rows are only ever added."""

    __tablename__ = "session_events"
    __table_args__ = (Index("ix_session_events_session_id_id", "session_id", "id"),)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    at: Mapped[datetime] = mapped_column(UtcTime)
    from_state: Mapped[str | None] = mapped_column(String(16))  # None: created
    to_state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)


class ApiKeyRow(Base):
    """An API key, stored as the SHA-256 of its 256 random bits."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index(
            "uq_api_keys_active_name",
            "name",
            unique=True,
            sqlite_where=_ACTIVE,
            postgresql_where=_ACTIVE,
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
