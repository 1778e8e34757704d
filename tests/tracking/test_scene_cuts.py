"""What is a cut by the numbers: how much a picture changes, next to how much it does around."""

import pytest

from gpu_lipsync.tracking.scene_cuts import LEAST_LOOK_AHEAD, is_cut


@pytest.mark.parametrize(
    ("around", "change", "cut"),
    [
        (18.0, 35.0, False),  # a hand-held camera that is jerked: not twice as much
        (18.0, 40.0, True),
        (2.0, 9.0, False),  # a slight change, as jump cuts of one shot are: not five times as much
        (2.0, 10.5, True),
        (0.0, 3.9, False),
        (0.0, 4.1, True),
    ],
)
def test_a_cut_stands_out_the_more_the_slighter_it_is(around: float, change: float, cut: bool) -> None:
    changes = [0.0, *[around] * 10, change, *[around] * 10]
    assert is_cut(changes, 11, LEAST_LOOK_AHEAD) is cut
