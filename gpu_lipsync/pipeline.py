"""The product: a face, speech and a checkpoint in, the same video with the mouth following the speech out."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync.audio import frame_loudness, mel_windows, waveform_of
from gpu_lipsync.config import EncodeConfig, LipSyncConfig
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.errors import NvencLostError, first_line
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.media.sound_file import Sound, read_sound
from gpu_lipsync.models import CenterFace, FaceMesh, Wav2Lip, load_face_mesh
from gpu_lipsync.networks import load_detector, load_generator, load_lip_mesh
from gpu_lipsync.ops import upload
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.process.cores import cores_given_back, use_one_core
from gpu_lipsync.process.device import network_dtype, on_default_stream, own_modes, resolve_device, why_no_gpu
from gpu_lipsync.process.input_files import require_inputs
from gpu_lipsync.process.lack_of_memory import is_lack_of_memory, lack_of_memory_named
from gpu_lipsync.process.threads import Later
from gpu_lipsync.progress import Observer, ObserverError, Shielded, Silent
from gpu_lipsync.report import Report
from gpu_lipsync.silence import rest_weights
from gpu_lipsync.tracking.detection import HELD_BYTES
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.tracked_frames import tracked_frames
from gpu_lipsync.video import Video, open_video


def run(config: LipSyncConfig, observer: Observer | None = None, *, started: float | None = None) -> Report:
    """Lip-sync one clip.

    Args:
        config: what to do.
        observer: told of progress and of what a user should know; by default nobody is.
        started: the `time.perf_counter()` from which `Report.total_seconds` counts, if earlier than this call.

    Returns:
        What was done; `config.outfile` is complete then.

    Raises:
        LipSyncError: one of its kinds, for every reason outside this program. Nothing is left behind then, and an
            existing output file is as it was; but where the report alone cannot be written, the output is complete.
        Exception: what the observer raised; the same holds.
    """
    shielded = Shielded(observer or Silent())
    try:
        try:
            return _run(config, shielded, time.perf_counter() if started is None else started)
        finally:
            shielded.end()
    except ObserverError as failure:
        error = failure.error
    raise error


def _run(config: LipSyncConfig, observer: Observer, started: float) -> Report:
    report_file = None if config.report is None else Path(config.report)
    if report_file is not None:
        with suppress(OSError):  # the folder that it is relative to is gone
            report_file = report_file.absolute()  # now, as the output: a host may go elsewhere meanwhile
    require_inputs(config)
    device = resolve_device(config.device)
    with (
        lack_of_memory_named(device),
        cores_given_back(),
        on_default_stream(device),
        own_modes(device),
        # Beside it the video is opened, sound is read, and on a CPU the first frames are decoded and looked at.
        Later(partial(load_generator, config, device), initializer=use_one_core) as generator,
        open_video(config.face, config.frames, device, as_decoded=True) as video,
    ):
        report = _open_report(config, device, video, started)
        if config.device == "auto" and (reason := why_no_gpu()):
            report.note(f"going on without the GPU: {reason}", observer)
        clip = _prepared(config, video, generator, report)
        encode = config.encode
        while again := _try_to_render(config, encode, clip, report, observer):
            encode = again
            gc.collect()  # an error that came out of a thread holds that thread's tensors in a circle
            if device.type == "cuda":
                torch.cuda.empty_cache()
    report.total_seconds = time.perf_counter() - started
    if report_file is not None:
        report.write(report_file)
    return report


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """What a run works on, and the networks it works with.

    Attributes:
        mel: (N, 1, 80, 16) on the host, a window for each output frame.
        mesh: finds mouths in a few frames.
        lip_mesh: finds how lips moved in all of them.
        pauses: with silence gating how far each output frame's mouth rests, 0 to 1.
        generator: may still be loading.
    """

    video: Video
    sound: Sound
    mel: Tensor
    pauses: Sequence[float] | None
    detector: CenterFace | None
    mesh: FaceMesh | None
    lip_mesh: FaceMesh | None
    generator: Later[Wav2Lip]

    def mouths(self, mel: Tensor, faces: Tensor, *, window: Window | None) -> Tensor:
        """What the generator makes of them, once it has come."""
        made: Tensor = self.generator.get()(mel, faces, window=window)
        return made


def _prepared(config: LipSyncConfig, video: Video, generator: Later[Wav2Lip], report: Report) -> _Clip:
    sound = read_sound(config.audio)
    with report.timed("sound"):
        # On the host: a GPU takes a third of a second to load its Fourier transforms, all the sound a tenth here.
        waveform = waveform_of(sound, torch.device("cpu"))
        mel = mel_windows(waveform, video.fps)  # 460 MB for an hour at 25 fps: a GPU gets each batch's share
        pauses = None
        if config.silence_gating:
            loudness = frame_loudness(waveform, len(mel), video.fps).tolist()
            pauses = rest_weights(loudness, fps=video.fps, threshold=config.silence_threshold)
    with report.timed("models"):
        detector = load_detector(config, video.device)
        mesh = None if detector is None else load_face_mesh(video.device)
        lip_mesh = load_lip_mesh(config, video.device)
        if video.device.type == "cuda":
            generator.get()  # before any frames: batches become smaller where memory is short, weights do not
    return _Clip(
        video=video,
        sound=sound,
        mel=mel,
        pauses=pauses,
        detector=detector,
        mesh=mesh,
        lip_mesh=lip_mesh,
        generator=generator,
    )


def _try_to_render(
    config: LipSyncConfig, encode: EncodeConfig, clip: _Clip, report: Report, observer: Observer
) -> EncodeConfig | None:
    """Render the whole clip; how to encode the next time if that is to be tried again: the device ran out of memory,
    and smaller batches are left, or NVENC failed, and libx264 is.

    Generator and blend go on in smaller batches by themselves (generate.py). Memory that runs out here was wanted by
    decoding, by detection, by the conversion for the encoder, or by the generator for a single frame beside all those
    that wait; batches of all of these are as large as decoding's, or follow from them.
    """
    size = report.batch_size
    try:
        _render(config, encode, clip, report, observer)
    except NvencLostError as error:
        if encode.encoder != "auto":
            raise
        report.begin_again(size)
        report.note(f"{first_line(error).partition(';')[0]}: starting again with libx264", observer)
        return replace(encode, encoder="libx264")
    except (RuntimeError, MemoryError) as error:  # PyTorch's and NumPy's
        if size == 1 or not is_lack_of_memory(error):
            raise
        report.begin_again(size // 2)
        report.note(f"out of memory: starting again with batches of {size // 2}", observer)
        return encode
    return None


def _render(config: LipSyncConfig, encode: EncodeConfig, clip: _Clip, report: Report, observer: Observer) -> None:
    video, device = clip.video, clip.video.device
    timeline = video.timeline(len(clip.mel))
    faces = config.faces
    begun_again = report.batch_size < video.batch_size(config.wav2lip_batch_size)
    if begun_again:  # detection has to do with less memory, too, and nothing is held
        faces = replace(faces, det_batch_size=min(faces.det_batch_size, report.batch_size))
    fps, layout = float(video.source_fps), video.layout
    tracker = FaceTracker(clip.detector, faces, mesh=clip.mesh, fps=fps, layout=layout)
    renderer = MouthRenderer(
        clip.mouths, config.blend, report, observer, rest_weights=clip.pauses, layout=layout, mesh=clip.lip_mesh
    )
    shape = StreamShape.of_video(video, len(timeline), clip.sound)
    with open_writer(config.outfile, shape, encode, device=device) as out:
        report.encoder = out.encoder
        if config.fp16 and device.type != "cuda":
            report.note(f"fp16 is for CUDA devices: going on in {report.precision}", observer)
        for note in (*faces.warnings, *video.notes, *out.notes):
            report.note(note, observer)
        observer.begin(len(timeline))
        hold_bytes = 0 if begun_again else HELD_BYTES
        with closing(tracked_frames(video, timeline, tracker, report, hold_bytes=hold_bytes)) as batches:
            for outputs, frames, heads in batches:
                with report.timed("models"):
                    clip.generator.get()
                mel = upload(clip.mel[outputs.start : outputs.stop], device)
                synced = renderer.render(frames, mel, heads)
                with report.timed("encode"):
                    out.write(synced)
                del frames, synced  # the encoder's thread has them; here they would wait for the next batch, too
                observer.advance(len(outputs))
        advice = tracker.tilts.advice(video.path.name, rotated=config.frames.rotate)
        cut_off = tracker.frames_cut_off
        for note in (*video.notes, *([advice] if advice else [])):  # what came up while decoding, and following
            report.note(note, observer)
        report.require_faces(config, cut_off=cut_off)  # of a clip without, not all frames have come
        if cut_off:
            edge = "the face's mouth is at the edge of the picture or beyond, and they are left as they are"
            report.note(f"in {cut_off} of {report.n_source_frames} frames of {video.path.name} {edge}", observer)
        renderer.count_spoiled()
        report.require_mouths(config)
        with report.timed("encode"):
            out.finish(observer.settle)


def _open_report(config: LipSyncConfig, device: torch.device, video: Video, started: float) -> Report:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({torch.get_num_threads()} threads)"
    height, width = (side + side % 2 for side in video.size)  # as they are written
    return Report(
        outfile=str(config.outfile),
        device=name,
        decoder=video.decoder,
        encoder="",
        precision=str(network_dtype(device, fp16=config.fp16)).removeprefix("torch."),
        height=height,
        width=width,
        fps=str(video.fps),
        batch_size=video.batch_size(config.wav2lip_batch_size),
        seconds={"start-up": time.perf_counter() - started},
    )
