"""Crops of the demo generator's material, compared with OpenCV's."""

import cv2
import numpy as np
import torch

from gpu_lipsync.tools.face_crops import sample_boxes
from gpu_lipsync.tools.synthetic_talkers import CROP_PX
from tests.talkers import sample_frame


def test_a_large_face_s_crop_has_all_of_its_pixels() -> None:
    """Of 512 px four by four make one, as OpenCV's INTER_AREA has it, on a photograph of a face."""
    frame = sample_frame()
    found = sample_boxes(frame, torch.zeros(1, 2), torch.full((1, 2), 512.0))[0]
    expected = cv2.resize(frame[0].permute(1, 2, 0).numpy(), (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)
    off = found.permute(1, 2, 0).int() - torch.from_numpy(expected).int()
    assert off.abs().max() <= 1  # both round, once each
    single = frame[0, :, 2::4, 2::4].int() - found.int()
    assert single.abs().float().mean() > 2, "which single pixels are not"


def test_a_crop_lies_where_it_is_asked_for_whatever_its_size() -> None:
    """Beside and across the edges of blocks of pixels: of a slope of grey, one level a pixel, each pixel its own x."""
    slope = np.broadcast_to(np.arange(640) / 4, (3, 300, 640)).astype(np.float32)
    frame = torch.from_numpy(slope.copy())[None]
    for left, width in ((10.3, 130.0), (31.7, 250.0), (3.1, 290.5), (7.0, 600.0)):
        found = sample_boxes(frame, torch.tensor([[left, 5.0]]), torch.tensor([[width, 290.0]]))[0, 0, 64]
        x = left + width * (torch.arange(CROP_PX) + 0.5) / CROP_PX - 0.5
        assert (found - x / 4).abs().max() <= 0.5 + 1e-3, "rounded to whole levels"
