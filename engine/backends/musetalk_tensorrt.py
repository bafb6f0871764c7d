"""MuseTalk's networks as TensorRT plans; all around them is the torch backend's."""

from __future__ import annotations

from typing import Any

import torch

from engine.backends.musetalk_torch import TorchBackend
from engine.backends.plan_networks import PlanNetworks
from engine.backends.torch_rung import Networks
from engine.backends.trt import find_plans, flavour, load_tensorrt, rungs_within
from engine.core.engine_errors import BackendUnavailable
from engine.engine_config import EngineConfig


class TensorRTBackend(TorchBackend):
    """See `TorchBackend`: the two differ in who runs the networks, and in nothing else."""

    name = "tensorrt"

    def __init__(self, config: EngineConfig) -> None:
        self._trt: Any = load_tensorrt()
        super().__init__(config)
        if self.device.type != "cuda":
            raise BackendUnavailable(
                "TensorRT needs an NVIDIA GPU, and PyTorch finds none.", "Look at `nvidia-smi`."
            )

    def load_networks(self) -> Networks:
        """The plans. Raises BackendUnavailable with the commands that build them."""
        config = self._config
        plans = find_plans(
            config.models_dir,
            config.version,
            config.decoder,
            config.hearing,
            flavour(self._trt),
            capability_of(self.device),
        )
        networks = PlanNetworks(self._trt, plans, self.device)
        self.rungs = rungs_within(networks.smallest, networks.largest, self.rungs)
        self._plans = " ".join(path.name for path in plans.values())
        return networks

    def identity(self) -> dict[str, str]:
        """See `Capabilities`."""
        return super().identity() | {"library": flavour(self._trt), "plans": self._plans}


def capability_of(device: torch.device) -> str:
    """Compute capability, as in sm89."""
    return "sm{}{}".format(*torch.cuda.get_device_capability(device))
