"""Both ends of every range are in it, and all that a choice is made from can be chosen (test_cli.py: what cannot)."""

import pytest

from gpu_lipsync.config import SUFFIXES
from tests.command.test_cli import parse


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("fps", (0.01, 240.0)),
        ("crf", (0, 51)),
        ("silence_threshold", (0.0, 1.0)),
        ("smooth_window", (1, 31)),
        ("mouth_region_size", (0.1, 1.0)),
        ("blur_intensity", (1, 201)),
        ("sharpen_amount", (0.0, 5.0)),
        ("face_det_stride", (1,)),
        ("face_det_batch_size", (1,)),
        ("wav2lip_batch_size", (1,)),
        ("resize_factor", (1,)),
        ("device", ("cuda:0", "cuda:99")),
    ],
)
def test_a_range_has_both_its_ends(name: str, ends: tuple[object, ...]) -> None:
    """Those that README.md gives."""
    for end in ends:
        assert getattr(parse(f"--{name}", str(end)), name) == end


def test_the_smallest_box_is_taken() -> None:
    """16x16, also in the frame's corner."""
    assert parse("--box", "0", "16", "0", "16").faces.has_box


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".avi", ".MP4", ".Mov"])
def test_an_outfile_may_end_in_what_help_names(suffix: str) -> None:
    """As cameras and other systems write it, too."""
    assert parse("--outfile", f"OUT{suffix}").outfile == f"OUT{suffix}"
    assert suffix.lower() in SUFFIXES and len(SUFFIXES) == 5, "one for each here"


# x264's own, by falling speed (x264 --fullhelp), without the last, placebo.
@pytest.mark.parametrize(
    "preset", ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
)
def test_every_preset_of_x264_can_be_asked_for(preset: str) -> None:
    assert parse("--preset", preset).encode.preset == preset
