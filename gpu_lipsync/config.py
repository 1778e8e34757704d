"""Every setting of a run, checked when it is made. Imports no torch, so that a wrong flag is answered at once.

`LipSyncConfig` has one field per command-line flag; the stages get the smaller configurations that it is made of. A
default stands in one place: the stage's configuration.
"""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from gpu_lipsync.blend_kernels.config import BlendConfig, BlendMethod, odd_kernel
from gpu_lipsync.config_checks import Sides, require, require_choice, require_count, require_kinds, require_path
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.face_config import FaceConfig, SmoothMode
from gpu_lipsync.process.output_paths import require_apart, require_writable

DecoderName = Literal["auto", "decord", "torchcodec", "pyav"]
EncoderName = Literal["auto", "libx264", "h264_nvenc"]

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi")
MIN_FPS, MAX_FPS = 0.01, 240


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """How the face file is read and what is cut out of it.

    Attributes:
        fps: frame rate given to a still, and to a video slower than 10; others have their own.
        static: show only the first frame.
        resize_factor: divide both sides by this.
        rotate: turn 90 degrees clockwise, after resizing.
        crop: top, bottom, left, right in pixels after resizing and rotating; -1: the edge.
        decoder: `auto` takes the fastest that can read the file.
    """

    fps: float = 25.0
    static: bool = False
    resize_factor: int = 1
    rotate: bool = False
    crop: Sides = (0, -1, 0, -1)
    decoder: DecoderName = "auto"

    def __post_init__(self) -> None:
        require_kinds(self)
        require(MIN_FPS <= self.fps <= MAX_FPS, "fps", self.fps, f"{MIN_FPS} to {MAX_FPS}")
        require_count("resize_factor", self.resize_factor)
        require(min(self.crop) >= -1, "crop", " ".join(map(str, self.crop)), "top bottom left right, each -1 or more")
        require_choice("decoder", self.decoder, get_args(DecoderName))


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """How the output is compressed.

    Attributes:
        encoder: `auto` is NVENC on CUDA devices that have it, else libx264.
        crf: quality, 0 (lossless) to 51; 18 is visually lossless.
        preset: libx264's trade of speed for size.
    """

    encoder: EncoderName = "auto"
    crf: int = 18
    preset: str = "veryfast"

    def __post_init__(self) -> None:
        require_kinds(self)
        require_choice("encoder", self.encoder, get_args(EncoderName))
        require(0 <= self.crf <= 51, "crf", self.crf, "0 to 51")
        require_choice("preset", self.preset, PRESETS)


@dataclass(frozen=True, kw_only=True)
class LipSyncConfig:
    """A whole run. Field names are the flag names; README.md says what each does.

    Raises:
        ConfigError: a value is out of its range; the message has the value and the range. Or a file to write is one to
            read, or the other one to write.
        EncodeError: a file to write cannot be.
    """

    checkpoint_path: str | Path
    face: str | Path
    audio: str | Path
    outfile: str | Path = "results/result_voice.mp4"
    static: bool = FrameConfig.static
    fps: float = FrameConfig.fps
    pads: Sides = FaceConfig.pads
    face_det_batch_size: int = FaceConfig.det_batch_size
    wav2lip_batch_size: int = 128
    resize_factor: int = FrameConfig.resize_factor
    crop: Sides = FrameConfig.crop
    box: Sides = FaceConfig.box
    rotate: bool = FrameConfig.rotate
    nosmooth: bool = not FaceConfig.smooth
    blend_method: BlendMethod = BlendConfig.method
    mouth_region_size: float = BlendConfig.mouth_region_size
    blur_intensity: int = BlendConfig.blur_intensity
    sharpen_mouth: bool = BlendConfig.sharpen_mouth
    sharpen_amount: float = BlendConfig.sharpen_amount
    keep_detail: bool = True  # unlike in BlendConfig, whose modes are by default as they are published
    temporal_smooth: bool = FaceConfig.temporal_smooth
    smooth_window: int = FaceConfig.smooth_window
    smooth_mode: SmoothMode = FaceConfig.smooth_mode
    fp16: bool = False
    silence_gating: bool = False
    silence_threshold: float = 0.01
    face_det_stride: int = FaceConfig.det_stride
    device: str = "auto"
    decoder: DecoderName = FrameConfig.decoder
    encoder: EncoderName = EncodeConfig.encoder
    crf: int = EncodeConfig.crf
    preset: str = EncodeConfig.preset
    report: str | Path | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        require_count("wav2lip_batch_size", self.wav2lip_batch_size)
        require(0 <= self.silence_threshold <= 1, "silence_threshold", self.silence_threshold, "0 to 1")
        require_choice("blend_method", self.blend_method, get_args(BlendMethod))
        require_device_name(self.device)
        for name in ("checkpoint_path", "face", "audio", "outfile", "report"):
            if name != "report" or self.report is not None:
                require_path(name, getattr(self, name))
        _ = self.frames, self.faces, self.blend, self.encode  # each checks its share
        outfile = Path(self.outfile)
        if outfile.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"outfile must end in one of {', '.join(SUFFIXES)}, got {str(outfile)!r}")
        inputs = {role: Path(getattr(self, role)) for role in ("face", "audio", "checkpoint_path")}
        require_apart("outfile", outfile, inputs)
        if self.report is not None:
            require_apart("report", Path(self.report), inputs | {"outfile": outfile})
            require_writable("report", Path(self.report))

    @cached_property
    def frames(self) -> FrameConfig:
        return FrameConfig(
            fps=self.fps,
            static=self.static,
            resize_factor=self.resize_factor,
            rotate=self.rotate,
            crop=self.crop,
            decoder=self.decoder,
        )

    @cached_property
    def faces(self) -> FaceConfig:
        return FaceConfig(
            pads=self.pads,
            box=self.box,
            det_batch_size=self.face_det_batch_size,
            det_stride=self.face_det_stride,
            smooth=not self.nosmooth,
            temporal_smooth=self.temporal_smooth,
            smooth_window=self.smooth_window,
            smooth_mode=self.smooth_mode,
        )

    @cached_property
    def blend(self) -> BlendConfig:
        return blend_config(self, method=self.blend_method)

    @cached_property
    def encode(self) -> EncodeConfig:
        return EncodeConfig(encoder=self.encoder, crf=self.crf, preset=self.preset)


def blend_config(flags: LipSyncConfig | Namespace, *, method: BlendMethod = BlendConfig.method) -> BlendConfig:
    """How mouths are blended in, by the flags of a command; ConfigError where one is out of its range."""
    try:
        return BlendConfig(
            method=method,
            mouth_region_size=flags.mouth_region_size,
            blur_intensity=odd_kernel(flags.blur_intensity),
            sharpen_mouth=flags.sharpen_mouth,
            sharpen_amount=flags.sharpen_amount,
            keep_detail=flags.keep_detail,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def require_device_name(name: str) -> None:
    """Raise ConfigError unless `name` is auto, cpu, cuda or cuda:N."""
    if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", name):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
