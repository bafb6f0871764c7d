"""The gate of every rewrite: the engine's pictures against the published modules, small here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.engine.musetalk import gates_of
from engine.audio.features import Hearing
from engine.backends.musetalk_torch import TorchBackend
from engine.engine_config import EngineConfig
from engine.models.hearing import FastEncoder

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def config(tiny_models: Path) -> EngineConfig:
    return EngineConfig(
        backend="torch",
        models_dir=tiny_models,
        device="cpu",
        decoder="kl",
        hearing=Hearing(left=10, right=0),
    )


@pytest.fixture(scope="module")
def backend(config: EngineConfig) -> Iterator[TorchBackend]:
    started = TorchBackend(config)
    started.rungs = (1, 2, 3)
    started.start()
    yield started
    started.stop()


def test_every_batch_size_paints_what_the_published_modules_do(
    config: EngineConfig, backend: TorchBackend
) -> None:
    with torch.inference_mode():
        gates = list(gates_of(config, backend))
    assert [gate.batch for gate in gates] == [1, 2, 3]
    assert max(gate.worst_level for gate in gates) <= 1
    assert min(gate.psnr_db for gate in gates) > 60


def test_the_gate_notices_sound_that_is_not_heard(
    config: EngineConfig, backend: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = FastEncoder.__call__
    monkeypatch.setattr(FastEncoder, "__call__", lambda *given: hear(*given) * 0)
    with torch.inference_mode():
        gates = list(gates_of(config, backend))
    assert max(gate.psnr_db for gate in gates) < 60
