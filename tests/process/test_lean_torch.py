"""What the command leaves out of PyTorch: left out indeed, missed by nobody, and there when it is asked for."""

import subprocess
import sys
from pathlib import Path

from gpu_lipsync.process.lean_torch import ONLY_FOR_COMPILERS
from tests.places import FACE

LEAN = "import sys; from gpu_lipsync.process.lean_torch import import_torch; import_torch(); import torch; "


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_the_parts_for_compilers_are_not_imported() -> None:
    """Nor what comes with them: else an update of PyTorch has moved them, and start-up takes half a second more."""
    left_out = (*ONLY_FOR_COMPILERS, "torch._decomp.decompositions", "torch._prims", "torch._refs", "torch._export")
    everything = python(f"import sys, torch; print(set({left_out!r}) - set(sys.modules))")
    lean = python(LEAN + f"import gpu_lipsync.pipeline; print(set({left_out!r}) & set(sys.modules))")
    assert everything == lean == "set()"


def test_whoever_wants_them_gets_them() -> None:
    """Fake tensors, by way of an operation whose kernel for them is in Python, and an exported program."""
    program = """
import torch.export, torch._meta_registrations
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    print(tuple(torch.bmm(torch.empty(2, 3, 4), torch.empty(2, 4, 5)).shape))
print(torch.export.export(torch.nn.Linear(2, 3), (torch.zeros(1, 2),)).module()(torch.zeros(1, 2)).shape == (1, 3))
"""
    assert python(LEAN + program).split("\n") == ["(2, 3, 5)", "True"]


def test_torchcodec_can_be_loaded(tmp_path: Path) -> None:
    """A stand-in that asks for torch._dynamo while it is imported, as torchcodec 0.17 does, and finds no GPU."""
    package = tmp_path / "torchcodec"
    package.mkdir()
    (package / "__init__.py").write_text("import torch\ntorch._dynamo.disallow_in_graph\n")
    (package / "decoders.py").write_text("def VideoDecoder(*_, **__):\n    raise RuntimeError('no GPU')\n")
    program = f"""
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from gpu_lipsync.decoding.decoders import DecoderUnavailableError, TorchcodecDecoder
from gpu_lipsync.media.video_info import probe_video
try:
    TorchcodecDecoder(probe_video(Path({str(FACE)!r})), device=torch.device("cuda"))
except DecoderUnavailableError as error:
    print(error)
"""
    assert python(LEAN + program) == "torchcodec on cuda: no GPU"


def test_a_torch_that_is_there_is_left_alone() -> None:
    assert python("import torch; " + LEAN + "print(torch.export.__name__, len(torch.export.__all__) > 5)") == (
        "torch.export True"
    )
