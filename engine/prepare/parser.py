"""The face parser, BiSeNet through ONNX Runtime: which pixels are skin, lips, nose (§2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.media.video import Bgr
from engine.musetalk.boxes import blend_squares
from engine.musetalk.masks import blend_mask, square_crop
from engine.musetalk.parsing import SIZE, parser_input, parser_mask
from engine.prepare.onnx_networks import open_session
from engine.prepare.partial import Records
from engine.prepare.settings import PersonaSettings


class FaceParser:
    """BiSeNet, loaded."""

    def __init__(self, path: Path) -> None:
        """Raises BackendUnavailable: the file is damaged, or no such network."""
        self._run = open_session(path, (1, 3, SIZE, SIZE))

    def classes(self, picture: Bgr) -> NDArray[np.uint8]:
        """(512, 512) the class of each pixel of a face with its surroundings."""
        scores = self._run(parser_input(np.ascontiguousarray(picture[..., ::-1]))[None])[0]
        return np.asarray(scores[0].argmax(axis=0), np.uint8)

    def masks(
        self,
        frames: Iterable[Bgr],
        boxes: NDArray[np.int32],
        settings: PersonaSettings,
        records: Records,
    ) -> Iterator[NDArray[np.uint8]]:
        """The mask of each frame and box, from the records as far as they go."""
        for frame, box in zip(frames, boxes, strict=True):
            left, top, right, bottom = blend_squares(box[None])[0].tolist()
            shape = bottom - top, right - left
            known = records.read(shape[0] * shape[1])
            if known is None:
                mask = self.mask(frame, box, settings)
                records.add(mask.tobytes())
            else:
                mask = np.frombuffer(known, np.uint8).reshape(shape)
            yield mask

    def mask(
        self, frame: Bgr, box: NDArray[np.int32], settings: PersonaSettings
    ) -> NDArray[np.uint8]:
        """The soft mask of a face, of the size of its blend square (§3.1)."""
        square = blend_squares(box[None])[0].tolist()
        region = parser_mask(
            self.classes(square_crop(frame, square)),
            settings.parsing,
            settings.left_cheek_width,
            settings.right_cheek_width,
        )
        return blend_mask(region, box.tolist())
