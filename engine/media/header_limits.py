"""Limits on the size that a file's header declares, checked before anything is decoded.

A picture of 16,000 x 16,000 is 49 KB as a PNG and 770 MB once it is decoded.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAX_PIXELS = 50_000_000
"""Largest picture: those of phone cameras; a frame of 8K has 33 million."""

MAX_FRAMES = 100_000
"""Longest video, before conversion to 25 frames a second: half an hour at 60."""

FORMATS = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg"),
    *("mxf", "nut", "ivf", "dv", "wtv", "rm", "m4v", "h264", "hevc", "av1", "obu", "mjpeg", "vc1"),
    *("yuv4mpegpipe", "gif", "apng", "image2", "png_pipe", "jpeg_pipe", "jpegls_pipe", "bmp_pipe"),
    *("webp_pipe", "tiff_pipe", "wav", "w64", "mp3", "flac", "aac", "aiff", "au", "caf", "amr"),
    *("ac3", "eac3", "dts", "ape", "wv", "tta", "latm", "loas"),
)
"""Formats that contain their own pictures and sound. Playlists are excluded: they name other files
and addresses to open."""

OPTIONS = {
    "max_pixels": str(MAX_PIXELS),
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
}

_SIZES_IN_JPEG = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers of JPEG without a length


def declared_size(path: Path) -> tuple[int, int] | None:
    """Declared width and height of a PNG, GIF, JPEG, WebP or BMP; None for other files.

    The libraries report the size of these formats only after decoding.
    """
    with path.open("rb") as file:
        head = file.read(32)
        try:
            if head.startswith(b"\x89PNG\r\n\x1a\n"):
                return _pair(">II", head[16:24])
            if head.startswith((b"GIF87a", b"GIF89a")):
                return _pair("<HH", head[6:10])
            if head.startswith(b"BM"):
                width, height = _pair("<ii", head[18:26])
                return abs(width), abs(height)
            if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
                return _of_webp(head)
            return _of_jpeg(file) if head.startswith(b"\xff\xd8") else None
        except struct.error:  # the file is truncated
            return None


def _pair(form: str, data: bytes) -> tuple[int, int]:
    first, second = struct.unpack(form, data)
    return int(first), int(second)


def _of_webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        size = head[24:30]
        return int.from_bytes(size[:3], "little") + 1, int.from_bytes(size[3:], "little") + 1
    if kind == b"VP8 ":
        width, height = _pair("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _of_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while True:
        while (byte := file.read(1)) not in (b"\xff", b""):
            pass
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte[0] in (0xD9, 0xDA):  # end of file, or start of the picture
            return None
        if byte[0] in _BARE or byte[0] == 0:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if byte[0] in _SIZES_IN_JPEG:
            height, width = _pair(">HH", file.read(5)[1:])
            return width, height
        file.seek(max(length - 2, 0), 1)
