"""The same networks in PyTorch, eager and compiled, and as ONNX files in other runtimes."""

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import pytorch_networks
from baselines.pytorch import TorchMnistDSDC
from torch import nn

from forward import by_jax

Call = Callable[[], Any]


def prepare(form: str, name: str, images: np.ndarray) -> tuple[Call, dict[str, Any]]:
    """Make the call of a network in a form: eager, ``torch.compile`` or the name of a runtime."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    draw_statistics(network)
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    if form in RUNTIMES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            with warnings.catch_warnings(action="ignore"):  # of an exporter that fails
                torch.onnx.export(network, (planes,), str(path), dynamo=False)
            return RUNTIMES[form](path, planes.numpy()), {}
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given = planes.to(memory_format=torch.channels_last)
    function: Any = torch.compile(network) if form == "torch.compile" else network

    def call() -> Any:
        with torch.inference_mode():
            return function(given)

    return call, {}


def onnx_runtime(path: Path, planes: np.ndarray) -> Call:
    """Load a file into ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: planes})[0]


def openvino(path: Path, planes: np.ndarray) -> Call:
    """Load a file into OpenVINO, which would else compute in bfloat16 where it can."""
    import openvino as ov

    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(str(path)), "CPU", options).create_infer_request()
    return lambda: request.infer([planes])[0]


RUNTIMES: Mapping[str, Callable[[Path, np.ndarray], Call]] = {
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
}


class ASPP(nn.Module):
    """The head of ``by_jax.aspp``, with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        features = by_jax.FEATURES
        self.first, self.pooled = _layer(features, features), _layer(features, features)
        self.rates = nn.ModuleList(
            nn.Sequential(_layer(features, features, rate), _layer(features, features))
            for rate in by_jax.RATES
        )
        self.last = _layer(features * (len(by_jax.RATES) + 2), features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to an array of the same shape."""
        pooled = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        branches = [self.first(x), pooled, *(rate(x) for rate in self.rates)]
        return self.last(torch.cat(branches, dim=1))


def _layer(inputs: int, outputs: int, rate: int = 0) -> nn.Sequential:
    """A convolution, depthwise and dilated by ``rate`` if there is one; normalisation; ReLU."""
    options = {"kernel_size": 3, "padding": rate, "dilation": rate, "groups": inputs}
    options = options if rate else {"kernel_size": 1}
    conv = nn.Conv2d(inputs, outputs, bias=False, **options)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=by_jax.EPSILON), nn.ReLU())


def draw_statistics(network: nn.Module) -> None:
    """Increase means and variances by up to 0.5 at random, except where they were copied."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and not isinstance(network, TorchMnistDSDC):
            for statistic in (layer.running_mean, layer.running_var):
                assert statistic is not None
                statistic += torch.rand_like(statistic) / 2


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "mnist_dsdc": lambda: TorchMnistDSDC(by_jax.dsdc_module()),
    "MobileNetV2": pytorch_networks.mobilenet,
    "ConvNeXt-T": pytorch_networks.convnext,
    "ASPP": ASPP,
}
