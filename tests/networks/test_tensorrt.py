"""Tiny networks exported to ONNX and compiled for an RTX 4090, on a machine without a GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from engine import backends
from engine.audio.features import Hearing
from engine.backends.trt import (
    PLANS,
    find_plans,
    flavour,
    load_tensorrt,
    plan_names,
    rungs_within,
)
from engine.core.engine_errors import BackendUnavailable
from engine.engine_config import EngineConfig
from engine.parity.plan_proofs import proof_of
from engine.prepare.build_tensorrt import BuildFailed, Wish, build_plan
from engine.prepare.export_onnx import (
    PARTS,
    BadExport,
    check,
    export,
    load_part,
    load_reference,
    require_proven,
    sample_inputs,
)
from engine.serving import choice

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(400)]

HEARING = Hearing(left=10, right=0)


@pytest.fixture(scope="module", params=["tiny", "kl"])
def decoder(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def onnx_folder(decoder: str, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    for part in PARTS:
        module = load_part(part, tiny_models, "v15", decoder)
        export(part, module, HEARING, folder / f"{part}.onnx")
    return folder


def test_the_files_compute_what_pytorch_does_at_other_batch_sizes(
    onnx_folder: Path, tiny_models: Path, decoder: str
) -> None:
    """They were exported at 2; the command checks 25 and 50 as well, which takes its time."""
    exact = load_reference(tiny_models, "v15", decoder)
    seen = list(check(onnx_folder, exact, HEARING, (1, 7)))
    assert [each.batch for each in seen] == [1, 7]
    assert max(each.worst_level for each in seen) <= 3


def test_no_file_reverses_an_axis_or_scatters(onnx_folder: Path) -> None:
    """TensorRT 10.6 drops a slice that goes backwards: red and blue came out swapped."""
    for part in PARTS:
        require_proven(onnx_folder / f"{part}.onnx")


def saved(path: Path, node: onnx.NodeProto, **constants: int) -> Path:
    """A file of one operator from x to y."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    known = [onnx.numpy_helper.from_array(np.array([v]), k) for k, v in constants.items()]
    graph = onnx.helper.make_graph([node], "one", [value], [out], known)
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def test_an_axis_that_is_reversed_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])
    require_proven(saved(tmp_path / "part.onnx", node, starts=0, ends=2, axes=0, steps=1))
    path = saved(tmp_path / "flipped.onnx", node, starts=3, ends=-5, axes=0, steps=-1)
    with pytest.raises(BadExport, match="reverses an axis"):
        require_proven(path)


def test_an_operator_that_no_plan_has_run_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "new.onnx", onnx.helper.make_node("Det", ["x"], ["y"]))
    with pytest.raises(BadExport, match=r"no TensorRT plan has run yet: Det \(1\)"):
        require_proven(path)


def test_infinite_latents_count_as_broken_though_the_decoder_makes_a_picture_of_them(
    tiny_models: Path,
) -> None:
    """TAESD squashes its input, so that its planes are finite."""
    reference = load_reference(tiny_models, "v15", "tiny")
    decode = load_part("decoder", tiny_models, "v15", "tiny")

    def infinite(latents: torch.Tensor, _: object, **__: object) -> SimpleNamespace:
        sample = torch.zeros_like(latents[:, :4])
        sample[0, 0, 0, 0] = torch.inf
        return SimpleNamespace(sample=sample)

    with torch.inference_mode():
        reference.unet.forward = infinite
        inputs = sample_inputs(2, HEARING, torch.float32)
        _, broken = reference(*inputs)
        _, seen = decode(infinite(inputs[3], None).sample.half())
    assert broken.tolist() == seen.tolist() == [1, 0]


def test_the_exporter_s_optional_libraries_are_not_the_user_s_business(onnx_folder: Path) -> None:
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    assert not exporter.isEnabledFor(logging.WARNING)


def test_another_network_s_files_are_refused(
    onnx_folder: Path, tiny_models: Path, decoder: str
) -> None:
    other = load_reference(tiny_models, "v1", decoder)
    with torch.inference_mode():
        vae = other.vae.decoder
        (vae.conv_out if decoder == "kl" else vae.layers[-1]).bias.add_(0.05)
    with pytest.raises(BadExport, match="differs from PyTorch at batch 1"):
        list(check(onnx_folder, other, HEARING, (1,)))


@pytest.mark.parametrize("part", PARTS)
def test_a_plan_is_compiled_for_a_gpu_that_is_not_here(
    onnx_folder: Path, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "plans" / "part.plan"
    told: list[tuple[str, int, int]] = []
    wish = Wish((1, 25, 50), "sm89", level=1)
    build_plan(
        load_tensorrt(), onnx_folder / f"{part}.onnx", path, wish, lambda *step: told.append(step)
    )
    assert path.stat().st_size > 10_000
    assert [each.name for each in path.parent.iterdir()] == ["part.plan"]
    phase, step, steps = told[-1]
    assert phase and step == steps > 1


def test_a_target_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    onnx_file = tmp_path / "face.onnx"
    with pytest.raises(BuildFailed, match=r"does not compile for sm90; it knows .*sm89"):
        build_plan(load_tensorrt(), onnx_file, tmp_path / "face.plan", Wish((1, 2, 4), "sm90"))


@pytest.mark.parametrize("sizes", [(50, 25, 1), (0, 1, 2), (1, 5, 4), (-1, -1, -1)])
def test_batch_sizes_without_an_order_are_refused_before_tensorrt_is_asked(
    tmp_path: Path, sizes: tuple[int, int, int]
) -> None:
    with pytest.raises(BuildFailed, match=r"batch sizes .* in this order: .* --batch-size 1 25 50"):
        build_plan(None, tmp_path / "face.onnx", tmp_path / "face.plan", Wish(sizes, "sm89"))


def test_rungs_are_those_that_the_plans_take() -> None:
    usual = (1, 2, 4, 8, 16, 24, 32)
    assert rungs_within(1, 25, usual) == (1, 2, 4, 8, 16, 24, 25)
    assert rungs_within(1, 50, usual) == usual
    assert rungs_within(4, 20, usual) == (4, 8, 16, 20)
    assert rungs_within(5, 7, usual) == (5, 7)


def test_swapped_colours_are_no_agreement() -> None:
    faces = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert proof_of(faces, faces).good
    assert not proof_of(faces[..., ::-1], faces).good
    off = np.clip(faces.astype(int) + 1, 0, 255).astype(np.uint8)
    assert not proof_of(off, faces).good  # one level everywhere is 48 dB
    assert not proof_of(faces, faces, broken=1).good


def test_auto_means_what_is_measured_to_be_faster(
    tiny_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    config = EngineConfig(models_dir=models, decoder="tiny", hearing=HEARING)
    caplog.set_level("INFO")
    assert choice.chosen_backend(config) == "warp"
    assert "torch is left out: " in caplog.text
    (models / "ready").symlink_to(tiny_models / "ready")
    assert choice.chosen_backend(config) == "warp"
    assert "PyTorch finds no NVIDIA GPU" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "_gpu", lambda: "sm89")
    assert choice.chosen_backend(config) == "torch"
    assert "There is no plan whisper-" in caplog.text
    names = plan_names(models, "v15", "tiny", HEARING, flavour(load_tensorrt()), "sm89")
    (models / PLANS).mkdir()
    for name in names.values():
        (models / PLANS / name).touch()
    monkeypatch.setattr(backends, "identity_of_choice", lambda *_: {"device": "this"})
    times = {"torch": 0.002, "tensorrt": 0.001}
    monkeypatch.setattr(choice, "_measured", lambda asked, _: times[asked.backend])
    assert choice.chosen_backend(config) == "torch", "nothing is measured for the asking"
    assert choice.chosen_backend(config, backends.load) == "tensorrt"
    times["tensorrt"] = 1.0
    assert choice.chosen_backend(config) == "tensorrt", "what was measured is kept"
    monkeypatch.setattr(backends, "identity_of_choice", lambda *_: {"device": "another"})
    assert choice.chosen_backend(config, backends.load) == "torch"


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    broken, wish = tmp_path / "face.onnx", Wish((1, 2, 4), "sm89")
    with pytest.raises(BuildFailed, match="voipavatar models export"):
        build_plan(load_tensorrt(), broken, tmp_path / "face.plan", wish)
    broken.write_bytes(b"not a network")
    with pytest.raises(BuildFailed, match="does not take"):
        build_plan(load_tensorrt(), broken, tmp_path / "face.plan", wish)


def test_only_plans_of_these_weights_this_library_and_this_gpu_are_taken(
    tiny_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "ready").symlink_to(tiny_models / "ready")
    made_by = flavour(load_tensorrt())
    wanted = ("v15", "tiny", HEARING, made_by, "sm89")
    command = "build-tensorrt --version v15 --decoder tiny --target sm89"
    with pytest.raises(BackendUnavailable, match=command):
        find_plans(models, *wanted)
    with pytest.raises(BackendUnavailable, match="export --version v1 --decoder tiny"):
        find_plans(models, "v1", *wanted[1:])
    names = plan_names(models, *wanted)
    longer = plan_names(models, "v15", "tiny", Hearing(left=11, right=0), made_by, "sm89")
    assert {part for part in names if names[part] != longer[part]} == {"sound"}
    other = plan_names(models, "v15", "kl", *wanted[2:])
    assert {part for part in names if names[part] != other[part]} == {"decoder"}
    (models / PLANS).mkdir()
    stale = models / PLANS / names["sound"].replace(made_by, "trt-1.0")
    stale.touch()
    with pytest.raises(BackendUnavailable, match=r"trt-1\.0-sm89\.plan is stale"):
        find_plans(models, *wanted)
    for name in names.values():
        (models / PLANS / name).touch()
    assert find_plans(models, *wanted) == {
        part: models / PLANS / name for part, name in names.items()
    }


def test_the_command_says_what_comes_before_it(tiny_models: Path) -> None:
    run = ["models", "build-tensorrt", "--target", "sm89", "--models", str(tiny_models)]
    done = CliRunner().invoke(app, [*run, "--version", "v1", "--decoder", "tiny"])
    assert done.exit_code == 1
    assert "voipavatar models export --version v1 --decoder tiny" in done.output
    order = CliRunner().invoke(app, [*run, "--batch-size", "50", "25", "1"])
    assert order.exit_code == 1
    assert "in this order: 50 25 1 are not" in order.output
    assert "[TRT]" not in order.output
