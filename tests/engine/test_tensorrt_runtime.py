"""What the TensorRT runtime makes of a plan's answers; something stands for pycuda's driver."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.backends.trt import load_tensorrt
from engine.config import EngineConfig
from engine.errors import BackendUnavailable, EngineFault
from engine.features import Hearing


class _Stream:
    handle = 0

    def synchronize(self) -> None:
        """Nothing is under way."""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    driver = ModuleType("pycuda.driver")
    stood_for = {
        "Stream": _Stream,
        "Error": RuntimeError,
        "pagelocked_zeros": np.zeros,
        "mem_alloc": lambda size: size,
        "memcpy_htod_async": lambda *_: None,
        "memcpy_dtoh_async": lambda *_: None,
    }
    for name, value in stood_for.items():
        setattr(driver, name, value)
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    name = "engine.backends.musetalk_tensorrt"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name)


def backend(runtime: Any, **changes: Any) -> Any:
    config = EngineConfig(models_dir=Path("nowhere"), hearing=Hearing(left=10, right=0), **changes)
    return runtime.TensorRTBackend(config)


def test_a_plan_that_does_not_take_a_shape_is_a_fault(runtime: Any) -> None:
    made = backend(runtime)
    made._context = nullcontext
    made._stream = _Stream()
    made._execution = SimpleNamespace(
        set_input_shape=lambda _, shape: shape[0] > 1, execute_async_v3=lambda _: True
    )
    made._tensors["latents"] = runtime._Tensor("latents", np.zeros((4, 8)), 0, is_input=True)
    made._execute(2)
    with pytest.raises(EngineFault, match=r"does not take latents of shape \(1, 8\)"):
        made._execute(1)


def test_a_plan_that_cannot_be_read_is_refused_with_whole_commands(runtime: Any) -> None:
    load_tensorrt()
    made = backend(runtime, version="v1", decoder="tiny")
    with pytest.raises(BackendUnavailable) as refused:
        made._load(b"no plan", "v1-tiny.plan", "sm89")
    said = str(refused.value)
    assert "TensorRT refuses v1-tiny.plan" in said
    assert "build-tensorrt --version v1 --decoder tiny --target sm89" in said
