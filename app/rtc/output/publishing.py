"""How an avatar's two tracks are published. Explicit throughout: LiveKit's defaults give a square
picture 300 kbit/s and 20 fps (livekit.md §2.5)."""

from __future__ import annotations

from typing import Literal

from livekit import rtc

from app.rtc.sdk.livekit_private import AudioEncoding

STREAM = "avatar"  # both tracks: lets rooms with sync_streams group them (livekit.md §2.6)


def video_options(codec: Literal["h264", "vp8"], pixels: int) -> rtc.TrackPublishOptions:
    codecs = {"h264": rtc.VideoCodec.H264, "vp8": rtc.VideoCodec.VP8}
    return rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        video_codec=codecs[codec],
        video_encoding=rtc.VideoEncoding(max_bitrate=bit_rate(pixels), max_framerate=25),
        video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_SOFTWARE,
        simulcast=False,
        stream=STREAM,
        # A face is small enough to be sent whole or not at all.
        degradation_preference=rtc.DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION.value,
    )


def bit_rate(pixels: int) -> int:
    """Bits a second: 1.5 M at 512 x 512, 2.5 M at 720p, 3.4 M at 1080p (livekit.md §2.5)."""
    return int(1_500_000 * (pixels / (512 * 512)) ** 0.4)


def audio_options() -> rtc.TrackPublishOptions:
    return rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_MICROPHONE,
        # From some 64 kbit/s on Opus codes speech as it does music, at a third of the processor's
        # time that its speech coder takes (docs/benchmarks.md).
        audio_encoding=AudioEncoding(max_bitrate=72_000),
        dtx=False,  # else the first syllable after a pause may be clipped (livekit.md §2.4)
        red=True,
        stream=STREAM,
    )
