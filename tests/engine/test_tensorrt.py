"""Tiny networks exported to ONNX and compiled for an RTX 4090, on a machine without a GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from engine import backends
from engine.backends.trt import (
    PLANS,
    find_plan,
    flavour,
    load_tensorrt,
    model_key,
    plan_name,
    rungs_within,
)
from engine.config import EngineConfig
from engine.errors import BackendUnavailable
from engine.features import Hearing
from engine.prepare.build_tensorrt import BuildFailed, build_plan
from engine.prepare.export_onnx import BadExport, check, export, load_painter, sample_inputs

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(400)]

HEARING = Hearing(left=10, right=0)


@pytest.fixture(scope="module")
def onnx(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "face.onnx"
    export(load_painter(tiny_models, "v15", "tiny", "float16"), HEARING, path)
    return path


def test_the_file_computes_what_pytorch_does_at_other_batch_sizes(
    onnx: Path, tiny_models: Path
) -> None:
    """It was exported at 2; the command checks 25 and 50 as well, which takes its time."""
    exact = load_painter(tiny_models, "v15", "tiny", "float32")
    seen = list(check(onnx, exact, HEARING, (1, 7)))
    assert [each.batch for each in seen] == [1, 7]
    assert max(each.worst_level for each in seen) <= 2


def test_infinite_latents_count_as_broken_though_the_decoder_makes_a_picture_of_them(
    tiny_models: Path,
) -> None:
    """TAESD squashes its input, so that its planes are finite."""
    painter = load_painter(tiny_models, "v15", "tiny", "float32")

    def infinite(latents: torch.Tensor, _: object, **__: object) -> SimpleNamespace:
        sample = torch.zeros_like(latents[:, :4])
        sample[0, 0, 0, 0] = torch.inf
        return SimpleNamespace(sample=sample)

    with torch.inference_mode():
        painter.unet.forward = infinite
        _, broken = painter(*sample_inputs(2, HEARING, torch.float32))
    assert broken.tolist() == [1, 0]


def test_the_exporter_s_optional_libraries_are_not_the_user_s_business(onnx: Path) -> None:
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    assert not exporter.isEnabledFor(logging.WARNING)


def test_another_network_s_file_is_refused(onnx: Path, tiny_models: Path) -> None:
    other = load_painter(tiny_models, "v1", "tiny", "float32")
    with torch.inference_mode():
        other.vae.decoder.layers[-1].bias.add_(0.05)
    with pytest.raises(BadExport, match="differs from PyTorch at batch 1"):
        list(check(onnx, other, HEARING, (1,)))


def test_a_plan_is_compiled_for_a_gpu_that_is_not_here(onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "plans" / "face.plan"
    build_plan(load_tensorrt(), onnx, path, (1, 25, 50), "sm89")
    assert path.stat().st_size > 100_000
    assert not path.with_suffix(".partial").exists()


def test_a_target_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    onnx = tmp_path / "face.onnx"
    with pytest.raises(BuildFailed, match=r"does not compile for sm90; it knows .*sm89"):
        build_plan(load_tensorrt(), onnx, tmp_path / "face.plan", (1, 2, 4), "sm90")


@pytest.mark.parametrize("sizes", [(50, 25, 1), (0, 1, 2), (1, 5, 4), (-1, -1, -1)])
def test_batch_sizes_without_an_order_are_refused_before_tensorrt_is_asked(
    tmp_path: Path, sizes: tuple[int, int, int]
) -> None:
    with pytest.raises(BuildFailed, match=r"batch sizes .* in this order: .* --batch-size 1 25 50"):
        build_plan(None, tmp_path / "face.onnx", tmp_path / "face.plan", sizes, "sm89")


def test_rungs_are_those_that_the_plan_takes() -> None:
    assert rungs_within(1, 25) == (1, 2, 4, 8, 16, 25)
    assert rungs_within(4, 20) == (4, 8, 16, 20)
    assert rungs_within(5, 7) == (5, 7)


def test_auto_takes_tensorrt_only_with_a_plan_that_fits(
    tiny_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    config = EngineConfig(models_dir=models, decoder="tiny", hearing=HEARING)
    monkeypatch.setattr(backends, "_gpu", lambda: "sm89")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: True)
    caplog.set_level("INFO")
    (models / "ready").mkdir()
    (models / "ready" / "kl.safetensors").touch()
    (models / "any.plan").touch()
    assert backends.best(config) == "warp"
    assert "tensorrt is left out: " in caplog.text
    assert "torch is left out: " in caplog.text
    assert "has no weights of unet-v15" in caplog.text
    (models / "ready" / "kl.safetensors").unlink()
    (models / "ready").rmdir()
    (models / "ready").symlink_to(tiny_models / "ready")
    caplog.clear()
    assert backends.best(config) == "warp"
    assert "There is no plan v15-tiny-" in caplog.text
    assert "PyTorch finds no NVIDIA GPU" in caplog.text
    key = model_key(models, "v15", "tiny", HEARING)
    (models / PLANS).mkdir()
    (models / PLANS / plan_name("v15", "tiny", key, flavour(load_tensorrt()), "sm89")).touch()
    assert backends.best(config) == "tensorrt"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (models / PLANS).rename(models / "elsewhere")
    assert backends.best(config) == "torch"


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "face.onnx"
    with pytest.raises(BuildFailed, match="voipavatar models export"):
        build_plan(load_tensorrt(), broken, tmp_path / "face.plan", (1, 2, 4), "sm89")
    broken.write_bytes(b"not a network")
    with pytest.raises(BuildFailed, match="does not take"):
        build_plan(load_tensorrt(), broken, tmp_path / "face.plan", (1, 2, 4), "sm89")


def test_only_the_plan_of_these_weights_this_library_and_this_gpu_is_taken(
    tiny_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "ready").symlink_to(tiny_models / "ready")
    made_by = flavour(load_tensorrt())
    wanted = ("v15", "tiny", HEARING, made_by, "sm89")
    command = "build-tensorrt --version v15 --decoder tiny --target sm89"
    with pytest.raises(BackendUnavailable, match=command):
        find_plan(models, *wanted)
    with pytest.raises(BackendUnavailable, match="export --version v1 --decoder tiny"):
        find_plan(models, "v1", *wanted[1:])
    key = model_key(models, "v15", "tiny", HEARING)
    assert key != model_key(models, "v15", "kl", HEARING)
    assert key != model_key(models, "v15", "tiny", Hearing(left=11, right=0))
    (models / PLANS).mkdir()
    stale = models / PLANS / plan_name("v15", "tiny", key, "trt-1.0", "sm89")
    stale.touch()
    with pytest.raises(BackendUnavailable, match=r"trt-1\.0-sm89\.plan is stale"):
        find_plan(models, *wanted)
    good = models / PLANS / plan_name("v15", "tiny", key, made_by, "sm89")
    good.touch()
    assert find_plan(models, *wanted) == good


def test_the_command_says_what_comes_before_it(tiny_models: Path) -> None:
    run = ["models", "build-tensorrt", "--target", "sm89", "--models", str(tiny_models)]
    done = CliRunner().invoke(app, [*run, "--version", "v1", "--decoder", "tiny"])
    assert done.exit_code == 1
    assert "voipavatar models export --version v1 --decoder tiny" in done.output
    order = CliRunner().invoke(app, [*run, "--batch-size", "50", "25", "1"])
    assert order.exit_code == 1
    assert "in this order: 50 25 1 are not" in order.output
    assert "[TRT]" not in order.output
