"""Turns a video into a persona: frames, boxes, mouths and masks on disk, ready to map."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from engine.core.engine_errors import PersonaError
from engine.core.persona import Persona, load
from engine.core.types import FPS
from engine.media.video import Bgr, MediaError, VideoInfo, probe_video, read_video
from engine.musetalk.boxes import blend_squares, lengthened
from engine.prepare.cache import (
    FORMAT,
    MANIFEST,
    PICTURE_BYTES,
    SIZED,
    cache_key,
    in_use,
    is_prepared,
    keep_while_used,
    make_room,
    new_folder,
    require_room,
    used,
)
from engine.prepare.crop import Crop, Size
from engine.prepare.faces import LATEST_BYTES, check_inside
from engine.prepare.jaw_mask import jaw_masks
from engine.prepare.mouth import MouthFinder
from engine.prepare.partial import Partial, partial_work
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools

log = logging.getLogger(__name__)

MIN_FRAMES = FPS  # one second; anything shorter twitches when played back and forth
LEAST_BOX = 32  # pixels of the source; a box from a detector is larger, unless it was shifted
LONGEST_S = 600  # of a small video, of which MAX_BYTES would hold hours
MAX_BYTES = 6 << 30  # of prepared pictures: 30 s at 1920 x 1080, 4.5 minutes at 512 x 512

Progress = Callable[[float], None]  # 0 … 1


def prepare(
    name: str,
    settings: PersonaSettings,
    video: Path,
    cache_dir: Path,
    size: Size | None = None,
    progress: Progress | None = None,
    tools: Tools | None = None,
    least_box: int = LEAST_BOX,
    unfinished: str | None = None,
) -> Persona:
    """The persona of a video, from the cache if it was prepared before.

    Args:
        name: the name that sessions use.
        video: `settings.video_path`, resolved.
        cache_dir: holds one folder per prepared persona.
        size: width and height of the output, even; None: the video's own.
        progress: called with the completed share.
        tools: networks that find faces and their regions; None: OpenCV and a typical jaw.
        least_box: minimum side of a face box in pixels, 2 or more; small ones look bad, but
            upstream accepts them.
        unfinished: name of the cache folder until it is complete.

    Raises:
        PersonaError: the video cannot become a persona; names the frame and the reason.
        BackendUnavailable: a network's file is damaged.
    """
    tools = tools or Tools()
    try:
        if not video.is_file():
            raise PersonaError(f"The video of persona {name} does not exist: {video}.")
        key = cache_key(video, settings, size, tools)
        folder = cache_dir / key
        if not is_prepared(folder):
            with new_folder(folder, unfinished) as new, partial_work(cache_dir, key) as partial:
                build = _Build(settings, video, size, progress or _ignore, tools, partial)
                build.into(new, key, least_box)
            make_room(cache_dir, folder)
        used(folder)
    except MediaError as error:
        raise PersonaError(str(error)) from error
    mark = in_use(folder)
    persona = replace(load(folder), name=name, display_name=settings.display_name)
    keep_while_used(persona, mark)
    return persona


def _ignore(_: float) -> None:
    pass


class _Build:
    """One preparation. The video is read twice: for the faces, then for the pictures."""

    def __init__(
        self,
        settings: PersonaSettings,
        video: Path,
        size: Size | None,
        progress: Progress,
        tools: Tools,
        partial: Partial,
    ) -> None:
        self._partial = partial
        self._settings = settings
        self._tools = tools
        self._video = video
        self._wanted = size
        self._progress = progress
        self._info: VideoInfo = probe_video(video)

    def into(self, folder: Path, key: str, least_box: int) -> None:
        """Writes everything; the manifest comes last and marks the folder as complete."""
        self._check_length(self._info.frames)
        require_room(folder.parent, self._info.frames, *(self._wanted or self._own_size()))
        if self._info.other_rate:
            rate = self._info.source_fps
            log.warning("%s has %g frames a second; converted to %d", self._video.name, rate, FPS)
        faces, mouths, filled = self._find(least_box)
        count = len(faces)
        if count < MIN_FRAMES:
            raise PersonaError(
                f"{self._video.name} is too short: {count / FPS:.2f} s. "
                "A persona needs a second at least, and looks best with five to ten."
            )
        crop = self._crop(faces)
        self._write_pictures(folder, crop, count)
        boxes = self._boxes(crop, faces)
        scale = crop.size[0] / crop.width
        centres = crop.points(mouths[:, :2].astype(np.float64))
        moved = np.column_stack([centres, mouths[:, 2] * scale, mouths[:, 3]]).astype(np.float32)
        squares = blend_squares(boxes)
        masks = self._masks(folder, boxes)
        arrays = {
            "boxes": boxes,
            "crops": squares,
            "mouths": moved,
            "masks": np.concatenate([mask.ravel() for mask in masks]),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        if self._wanted:
            own = cache_key(self._video, self._settings, None, self._tools)
            (folder / SIZED).write_text(own)
        manifest = json.dumps(self._manifest(key, count, crop, filled), indent=2)
        (folder / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
        self._progress(1.0)

    def _find(self, least_box: int) -> tuple[NDArray[np.float64], NDArray[np.float32], int]:
        """Smoothed face boxes and mouths of all frames, and the number of interpolated boxes."""
        faces, filled = self._given() if self._settings.face_box else self._found()
        self._check_sides(faces, least_box)
        mouth = MouthFinder()
        for frame, box in zip(read_video(self._video), faces, strict=True):
            mouth.add(frame, box)
        return faces, mouth.mouths(), filled

    def _check_sides(self, faces: NDArray[np.float64], least: int) -> None:
        side = (faces[:, 2:] - faces[:, :2]).min()
        if side < least:
            raise PersonaError(
                f"face_box and bbox_shift leave {max(0.0, side):.0f} pixels of the face in "
                f"{self._video.name} to be painted, at least {least} are needed."
            )

    def _found(self) -> tuple[NDArray[np.float64], int]:
        finder = self._tools.finder(self._video.name, self._settings)
        records = self._partial.records("faces")
        for frame in self._frames(0.0, 0.6):
            known = records.read(LATEST_BYTES)
            if known is None:
                finder.add(frame)
                records.add(finder.latest.tobytes())
            else:
                finder.recall(np.frombuffer(known))
        return finder.boxes(), finder.filled

    def _given(self) -> tuple[NDArray[np.float64], int]:
        """The configured face box, repeated for every frame."""
        box = np.array(self._settings.face_box, np.float64)
        box[1] += 2 * self._settings.bbox_shift
        whole = self._info
        if box[1] < 0 or box[2] > whole.width or box[3] > whole.height:
            raise PersonaError(
                f"face_box reaches beyond the picture of {self._video.name}, "
                f"which is {whole.width}x{whole.height}."
            )
        count = sum(1 for _ in self._frames(0.0, 0.6))
        return np.tile(box, (count, 1)), 0

    def _frames(self, start: float, end: float) -> Iterator[Bgr]:
        """The video's frames; reports progress between two shares of the work."""
        expected = max(self._info.frames, 1)
        for number, frame in enumerate(read_video(self._video)):
            self._check_length(number)
            self._progress(start + (end - start) * min(1.0, number / expected))
            yield frame

    def _own_size(self) -> Size:
        return self._info.width, self._info.height

    def _check_length(self, frames: int) -> None:
        width, height = self._wanted or self._own_size()
        longest = min(LONGEST_S * FPS, int(MAX_BYTES / (width * height * PICTURE_BYTES)))
        if frames > longest:
            raise PersonaError(
                f"{self._video.name} is too long: at {width}x{height}, a persona may have "
                f"{longest / FPS:.0f} s. Cut it: five to ten seconds are plenty."
            )

    def _crop(self, faces: NDArray[np.float64]) -> Crop:
        """The largest part of the picture in the wanted shape, centred on the face."""
        whole = self._info
        width, height = self._wanted or (whole.width, whole.height)
        scale = min(whole.width / width, whole.height / height)
        part_width, part_height = round(width * scale), round(height * scale)
        middle_x = float(np.mean(faces[:, [0, 2]]))
        # The head reaches further above its face box than below it.
        middle_y = float(np.mean(faces[:, 1] * 0.6 + faces[:, 3] * 0.4))
        x = int(np.clip(round(middle_x - part_width / 2), 0, whole.width - part_width))
        y = int(np.clip(round(middle_y - part_height / 2), 0, whole.height - part_height))
        crop = Crop(x, y, part_width, part_height, (width, height))
        for number, box in enumerate(crop.points(faces)):
            where = f"frame {number} of {self._video.name}, shown at {width}x{height},"
            check_inside(box, width, height, where)
        return crop

    def _boxes(self, crop: Crop, faces: NDArray[np.float64]) -> NDArray[np.int32]:
        boxes = np.round(crop.points(faces)).astype(np.int32)
        margin = round(self._settings.margin * crop.size[0] / crop.width)
        return lengthened(boxes, margin, crop.size[1])

    def _write_pictures(self, folder: Path, crop: Crop, count: int) -> None:
        width, height = crop.size
        shapes = (count, height, width, 3), (count, height * width * 3 // 2)
        with (
            (folder / "frames.npy").open("wb") as frames,
            (folder / "pictures.npy").open("wb") as pictures,
        ):
            # Written, not mapped: on a full disk a write raises; a mapped page kills the process.
            for file, shape in zip((frames, pictures), shapes, strict=True):
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                write_array_header_1_0(file, header)
            for frame in self._frames(0.6, 0.8):
                shown = crop(frame)
                frames.write(shown.tobytes())
                pictures.write(cv2.cvtColor(shown, cv2.COLOR_BGR2YUV_I420).tobytes())

    def _masks(self, folder: Path, boxes: NDArray[np.int32]) -> list[NDArray[np.uint8]]:
        """A soft mask for each written frame."""
        parser = self._tools.parser()
        if parser is None:
            return jaw_masks(boxes)
        frames = np.load(folder / "frames.npy", mmap_mode="r")
        records, masks = self._partial.records("masks"), list[NDArray[np.uint8]]()
        for mask in parser.masks(frames, boxes, self._settings, records):
            masks.append(mask)
            self._progress(0.8 + 0.2 * len(masks) / len(boxes))
        return masks

    def _manifest(self, key: str, count: int, crop: Crop, filled: int) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "key": key,
            "video": self._video.name,
            "source_fps": self._info.source_fps,
            "frames": count,
            "width": crop.size[0],
            "height": crop.size[1],
            **self._tools.names,
            **({"faces": "given"} if self._settings.face_box else {}),
            "faces_interpolated": filled,
            "settings": self._settings.prepared_with(),
        }
