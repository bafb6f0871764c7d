"""What is shown where a network gave no face."""

from __future__ import annotations

import cv2
import numpy as np

from engine.core.types import FACE_SIZE, Faces, FrameJob


def own_face(job: FrameJob) -> Faces:
    """The persona's own face in its box, 256 x 256: what stands in for one that is not finite."""
    persona, index = job.persona, job.persona.source(job.tick)
    x1, y1, x2, y2 = (int(edge) for edge in persona.boxes[index])
    crop = persona.frames[index, y1:y2, x1:x2]
    face: Faces = np.asarray(cv2.resize(crop, (FACE_SIZE, FACE_SIZE)), np.uint8)
    return face
