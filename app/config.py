"""The service's settings. Only this file reads the environment."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.shipped import personas_folder
from engine.audio.features import LEAST_LEFT, POSITION_MS, Hearing
from engine.engine_config import EngineConfig, Stall


class Settings(BaseSettings):
    """`VOIPAVATAR_…` variables; LiveKit's settings keep LiveKit's own names."""

    model_config = SettingsConfigDict(
        env_prefix="VOIPAVATAR_", env_file=".env", extra="ignore", frozen=True
    )

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    max_connections: int | None = Field(None, ge=1)  # None: a quarter of the file descriptors
    keep_alive_s: int = Field(75, ge=1, le=3600)
    insecure: bool = False  # serve addresses other than loopback without an API key
    otel_endpoint: str = Field("", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    data_dir: Path = Path("data")
    personas_dir: Path = Field(default_factory=personas_folder)
    own_personas_dir: str = ""  # empty: own/ in data_dir
    models_dir: Path = Path("models")
    database_url: str = ""  # empty: SQLite in data_dir

    livekit_url: str = Field("ws://127.0.0.1:7880", validation_alias="LIVEKIT_URL")
    livekit_api_key: str = Field("", validation_alias="LIVEKIT_API_KEY")
    livekit_api_secret: SecretStr = Field(SecretStr(""), validation_alias="LIVEKIT_API_SECRET")
    livekit_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # servers that callers may name
    livekit_room: str = Field("", validation_alias="LIVEKIT_ROOM")
    persona_name: str = Field("default", validation_alias="PERSONA_NAME")

    engine: Literal["auto", "warp", "torch", "tensorrt"] = "auto"
    max_sessions: int | None = Field(None, ge=1)
    hosts: int = Field(0, ge=0, le=64)  # worker processes for sessions; 0: all in this process
    silence_rms: float = Field(0.01, ge=0, lt=1)
    close_frames: int = Field(8, ge=0, le=50)
    musetalk_version: Literal["v15", "v1"] = "v15"
    decoder: Literal["kl", "tiny"] = "kl"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    left_context_ms: int = Field(5000, ge=LEAST_LEFT * POSITION_MS, multiple_of=POSITION_MS)
    right_context_ms: int = Field(100, ge=0, multiple_of=POSITION_MS)
    audio_window: Literal["truncated", "padded"] = "truncated"
    video_codec: Literal["h264", "vp8"] = "h264"
    joins_at_once: int = Field(4, ge=1, le=16)  # livekit.md: 24 at once time out, 4 do not
    barge_in: bool = False  # people who start to speak interrupt an agent's avatar
    barge_in_rms: float = Field(0.02, gt=0, lt=1)
    barge_in_ms: int = Field(160, ge=40, le=2000)
    realtime: bool = True  # schedule the threads that keep time before ordinary work, if permitted
    alone_s: float = Field(30.0, ge=10)  # in a recreated room, whose sid may arrive 5 s late
    drain_s: float = Field(10.0, ge=0)  # how long shutdown waits for sessions to leave
    test_stalls: Annotated[tuple[Stall, ...], NoDecode] = ()

    @field_validator("livekit_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        """`*.livekit.cloud,10.0.0.7:7880`"""
        if not isinstance(value, str):
            return value
        return tuple(host.strip() for host in value.split(",") if host.strip())

    @field_validator("test_stalls", mode="before")
    @classmethod
    def _parse_stalls(cls, value: object) -> object:
        """`10:200,20:400`: stall 200 ms at 10 s after a session's first frame, then 400 ms at 20"""
        if not isinstance(value, str):
            return value
        pairs = (item.split(":") for item in value.split(",") if item.strip())
        try:
            return tuple(Stall(float(at), float(ms) / 1000) for at, ms in pairs)
        except ValueError as error:
            raise ValueError(
                "write stalls as SECONDS:MILLISECONDS,…, as in 10:200,20:400"
            ) from error

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        self.hearing()
        return self

    @property
    def own_personas(self) -> Path:
        """Where personas made here are stored; those in personas_dir ship with the service."""
        return Path(self.own_personas_dir) if self.own_personas_dir else self.data_dir / "own"

    @property
    def database(self) -> str:
        """The given database URL, or that of the SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'voipavatar.db').resolve()}"

    def hearing(self) -> Hearing:
        """The audio window of MuseTalk's encoder. Raises ValueError if it exceeds the encoder's."""
        contexts = (self.left_context_ms, self.right_context_ms)
        left, right = (context // POSITION_MS for context in contexts)
        return Hearing(left, right, self.audio_window)

    def engine_config(self) -> EngineConfig:
        return EngineConfig(
            hearing=self.hearing(),
            version=self.musetalk_version,
            decoder=self.decoder,
            device=self.device,
            backend=self.engine,
            silence_rms=self.silence_rms,
            close_frames=self.close_frames,
            max_streams=self.max_sessions,
            models_dir=self.models_dir,
            realtime=self.realtime,
            stalls=self.test_stalls,
        )


@lru_cache
def settings() -> Settings:
    """The process's settings; tests build their own `Settings(...)`."""
    return Settings()
