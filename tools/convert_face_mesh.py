"""Convert Face Mesh from the TensorFlow Lite file in the `mediapipe` package to checkpoints/face_mesh.safetensors.

    pip download --no-deps --dest /tmp mediapipe==0.10.21
    python -m gpu_lipsync.tools.convert_face_mesh /tmp/mediapipe-0.10.21-*.whl

The package is read, not installed: it asks for an older numpy. Parameters are renamed and stay in float16, as stored.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
import tflite
import torch
from torch import Tensor, nn

from gpu_lipsync.models.face_mesh import WEIGHTS_NAME, FaceMesh
from gpu_lipsync.tools.converted_weights import check_known, write_weights

NETWORK = "mediapipe/modules/face_landmark/face_landmark.tflite"
SOURCE_SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
CONVOLUTIONS = (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D)


def read_layers(content: bytes) -> list[tuple[str, list[Tensor]]]:
    """Convolutions ("conv": weight, bias) and PReLUs ("act": slope) that lead to the landmarks, in order."""
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    maker = {operator.Outputs(0): operator for operator in operators}

    def kind(operator: tflite.Operator) -> int:
        code = model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())

    def stored(index: int) -> Tensor:
        """A parameter: half precision behind a DEQUANTIZE."""
        source = maker[index].Inputs(0) if index in maker else index
        tensor = graph.Tensors(source)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return torch.from_numpy(np.frombuffer(raw.tobytes(), np.float16).reshape(tensor.ShapeAsNumpy()).copy())

    needed, waiting = set(), [graph.Outputs(0)]  # the first output is the landmarks
    while waiting:
        index = waiting.pop()
        if index in maker and index not in needed:
            needed.add(index)
            waiting += [maker[index].Inputs(i) for i in range(maker[index].InputsLength())]
    layers = []
    for operator in operators:
        if operator.Outputs(0) not in needed:
            continue
        if kind(operator) in CONVOLUTIONS:
            weight, bias = stored(operator.Inputs(1)), stored(operator.Inputs(2))
            order = (3, 0, 1, 2) if kind(operator) == tflite.BuiltinOperator.DEPTHWISE_CONV_2D else (0, 3, 1, 2)
            layers.append(("conv", [weight.permute(order).contiguous(), bias]))
        elif kind(operator) == tflite.BuiltinOperator.PRELU:
            layers.append(("act", [stored(operator.Inputs(1)).flatten()]))
    return layers


def name_layers(layers: list[tuple[str, list[Tensor]]]) -> dict[str, Tensor]:
    """Name the layers after the module's, which are made in the order of the graph."""
    with torch.device("meta"):
        modules = [(n, m) for n, m in FaceMesh().named_modules() if isinstance(m, nn.Conv2d | nn.PReLU)]
    state = {}
    for (name, module), (kind, tensors) in zip(modules, layers, strict=True):
        if (kind == "act") != isinstance(module, nn.PReLU) or module.weight.shape != tensors[0].shape:
            raise SystemExit(f"{name}: the graph has {kind} {tuple(tensors[0].shape)}, the module {module}")
        state[f"{name}.weight"] = tensors[0]
        if len(tensors) > 1:
            state[f"{name}.bias"] = tensors[1]
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21-…whl")
    with zipfile.ZipFile(parser.parse_args().wheel) as wheel:
        source = wheel.read(NETWORK)
    check_known(source, NETWORK, SOURCE_SHA256)
    state = name_layers(read_layers(source))
    write_weights(state, WEIGHTS_NAME, origin="Face Mesh, from mediapipe 0.10.21, Apache-2.0")


if __name__ == "__main__":
    main()
