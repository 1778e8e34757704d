"""Batched image operations: tensor in, tensor out, on whatever device the tensor is on.

Images are (B, C, H, W) float32 in [0, 1]. Nothing here looks at a value from the host or loops over a batch. None is
made to be differentiated: many work in buffers of their own.
"""

from gpu_lipsync.ops.bilateral import bilateral_filter
from gpu_lipsync.ops.blur import box_blur, gaussian_blur, unsharp_mask
from gpu_lipsync.ops.canny import canny
from gpu_lipsync.ops.checks import check_image, check_same_device
from gpu_lipsync.ops.clahe import clahe
from gpu_lipsync.ops.color import grey, lab_to_rgb, lightness, rgb_to_lab, with_lightness
from gpu_lipsync.ops.constants import SIZES_OF_A_BATCH, device_constant, on_host, remembered, upload
from gpu_lipsync.ops.convert import interleaved, to_bytes, to_float, to_uint8
from gpu_lipsync.ops.guided import guided_filter
from gpu_lipsync.ops.matrices import Axis, axis_matrix, blur_rows
from gpu_lipsync.ops.pyramid import pyramid_down, pyramid_up
from gpu_lipsync.ops.resize import reduce_bytes, resize, resize_bytes, resize_to_bytes, resize_window
from gpu_lipsync.ops.sharpened import resize_sharpened

__all__ = [
    "SIZES_OF_A_BATCH",
    "Axis",
    "axis_matrix",
    "bilateral_filter",
    "blur_rows",
    "box_blur",
    "canny",
    "check_image",
    "check_same_device",
    "clahe",
    "device_constant",
    "gaussian_blur",
    "grey",
    "guided_filter",
    "interleaved",
    "lab_to_rgb",
    "lightness",
    "on_host",
    "pyramid_down",
    "pyramid_up",
    "reduce_bytes",
    "remembered",
    "resize",
    "resize_bytes",
    "resize_sharpened",
    "resize_to_bytes",
    "resize_window",
    "rgb_to_lab",
    "to_bytes",
    "to_float",
    "to_uint8",
    "unsharp_mask",
    "upload",
    "with_lightness",
]
