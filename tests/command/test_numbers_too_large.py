"""Whole numbers that nothing can count to are refused, and the largest that can be counted to are not."""

import pytest

from gpu_lipsync.cli import main
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.face_config import FaceConfig
from tests.places import DEMO, FACE, SPEECH

INPUTS = ["--checkpoint_path", str(DEMO), "--face", str(FACE), "--audio", str(SPEECH)]


@pytest.mark.parametrize(
    ("flags", "range_"),
    [
        (f"--face_det_stride 1{'0' * 400}", "1 to 2147483647"),  # overflows a float
        ("--wav2lip_batch_size 2147483648", "1 to 2147483647"),
        ("--wav2lip_batch_size -2147483649", "1 or more"),
        ("--resize_factor 2147483648", "1 to 2147483647"),
        ("--pads 0 99999999999999999999 0 0", "numbers from -2147483647 to 2147483647"),
        ("--pads 0 -99999999999999999999 0 0", "numbers from -2147483647 to 2147483647"),
        ("--crop 0 -1 0 99999999999999999999", "numbers from -2147483647 to 2147483647"),
        ("--crf 9999999999", "0 to 51"),  # whose own range says it all
    ],
    ids=lambda value: value[:30],
)
def test_a_number_beyond_32_bits_is_refused(flags: str, range_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*INPUTS, *flags.split()]) == ConfigError.exit_code
    err = capsys.readouterr().err
    assert f"must be {range_}, got " in err and err.count("\n") == 1


def test_the_largest_of_them_is_taken() -> None:
    most = 2**31 - 1
    assert FaceConfig(det_stride=most, pads=(0, most, 0, 0)).stride(12.5) == pytest.approx(most / 2, abs=1)
    FrameConfig(resize_factor=most, crop=(0, most, 0, most))
