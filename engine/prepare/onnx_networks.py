"""Networks of the preparation, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.core.cores import thread_limit
from engine.core.engine_errors import BackendUnavailable

Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
Shape = tuple[int, int, int, int]


def open_session(path: Path, shape: Shape) -> Run:
    """A network of one picture in, ready to run on the CPU.

    Raises:
        BackendUnavailable: the file is damaged, or takes other pictures than (1, 3, H, W).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = thread_limit()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        taken = session.get_inputs()[0]
    except Exception as error:  # of many types, in ONNX Runtime's own module
        reason = str(error).splitlines()[0]
        raise BackendUnavailable(f"{path} cannot be read as an ONNX file: {reason}") from error
    fixed = [size for size in taken.shape[1:] if isinstance(size, int)]
    if len(taken.shape) != 4 or any(size not in shape[1:] for size in fixed):
        raise BackendUnavailable(f"{path} takes {taken.shape}, not {list(shape)}: another network.")

    def run(planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(None, {taken.name: planes})
        return found

    return run
