"""What a run did: frame counts, what decoded and encoded, where the time went. Also the machine-readable `--report`."""

from __future__ import annotations

import json
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu_lipsync import __version__
from gpu_lipsync.config import FrameConfig, LipSyncConfig
from gpu_lipsync.errors import CheckpointError, EncodeError, FaceNotFoundError
from gpu_lipsync.process.output_paths import write_text
from gpu_lipsync.progress import Observer, one_line

_PACKAGES = ("torch", "torchaudio", "decord", "av", "torchcodec", "numpy")


@dataclass(kw_only=True)
class Report:
    """The outcome of a run.

    Attributes:
        n_frames_in_silence: frames that only show a resting mouth, with silence gating.
        n_generated: mouths that the generator made; with silence gating fewer than frames shown, where the head holds
            still: a fade over a moving one takes two.
        n_spoiled: frames left as they were because the generator's mouth was not a number somewhere.
        seconds: wall-clock time by stage. Decoding and following faces run beside the others, and `encode` and
            `models` are only what was waited for: the sum is not the total. On CUDA the network's work is queued, so
            its time shows up in the stage that first waits for it.
        notes: what the user was told along the way.
    """

    outfile: str
    device: str
    decoder: str
    encoder: str
    precision: str
    width: int
    height: int
    fps: str
    n_frames: int = 0
    n_source_frames: int = 0
    n_frames_without_face: int = 0
    n_frames_in_silence: int = 0
    n_generated: int = 0
    n_spoiled: int = 0
    batch_size: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    total_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def begin_again(self, batch_size: int) -> None:
        """Forget what was counted; the time was spent all the same."""
        self.batch_size = batch_size
        self.n_frames = self.n_source_frames = self.n_frames_without_face = 0
        self.n_frames_in_silence = self.n_generated = self.n_spoiled = 0

    def note(self, line: str, observer: Observer) -> None:
        """Keep a line for the report and tell the observer; only once, though a run may begin again."""
        if line not in self.notes:
            self.notes.append(line)
            observer.note(line)

    @property
    def n_skipped(self) -> int:
        """Mouths that the generator was spared, with silence gating, all in all."""
        spared = self.n_frames - self.n_frames_without_face - self.n_generated
        return max(0, spared) if self.n_frames_in_silence else 0

    @property
    def all_spoiled(self) -> bool:
        """Whether no frame with a face got a mouth: none was a number."""
        return self.n_spoiled > 0 and self.n_spoiled == self.n_frames - self.n_frames_without_face

    def require_faces(self, config: LipSyncConfig, *, cut_off: int) -> None:
        """Raise FaceNotFoundError where no frame has one, but `cut_off` of them one whose mouth is at an edge."""
        if self.n_frames_without_face < self.n_frames:
            return
        where = "" if tuple(config.crop) == FrameConfig.crop else f", within --crop {' '.join(map(str, config.crop))}"
        only = ", the only one with --static" if config.static else ""
        if cut_off:
            raise FaceNotFoundError(
                f"the face in {config.face}{where} has its mouth at the picture's edge or beyond (in {cut_off} of "
                f"{self.n_source_frames} frames{only}); use a clip that shows more, or pass --box top bottom left right"
            )
        raise FaceNotFoundError(
            f"no face in {config.face}{where} (frames looked at: {self.n_source_frames}{only}); "
            "use a clip that shows one, mouth and all, or pass --box top bottom left right"
        )

    def require_mouths(self, config: LipSyncConfig) -> None:
        """Raise CheckpointError where none is a number."""
        if self.all_spoiled:
            raise CheckpointError(
                f"every mouth that {config.checkpoint_path} made came out as NaN or infinity; leave out --fp16, if "
                "given, or get the checkpoint anew"
            )

    def summary(self) -> str:
        """A few lines for people, the time per stage last."""
        stages = "  ".join(f"{name} {spent:.2f}" for name, spent in self.seconds.items())
        shape = f"{self.width}x{self.height}, {float(Fraction(self.fps)):.5g} fps"
        lines = [
            f"{one_line(self.outfile)}: {self.n_frames} frames, {shape}",
            f"{self.device}, {self.precision}, decoder {self.decoder}, encoder {self.encoder}",
        ]
        if self.n_frames_without_face:
            lines.append(f"{self.n_frames_without_face} frames without a face passed through unchanged")
        if self.n_frames_in_silence:
            gated = f"{self.n_generated} mouths generated, {self.n_skipped} skipped"
            lines.append(f"{self.n_frames_in_silence} frames in silence: {gated}")
        return "\n".join([*lines, f"seconds: {stages}"])

    def as_dict(self) -> dict[str, Any]:
        """Everything, with the versions of what ran, as plain data."""
        return asdict(self) | {
            "n_skipped": self.n_skipped,
            "versions": {"gpu_lipsync": __version__, "python": platform.python_version(), **installed_versions()},
            "peak_memory_mb": round(peak_memory_mb(), 1),
        }

    def write(self, path: str | Path) -> None:
        """Write `as_dict` as JSON.

        Raises:
            EncodeError: the file cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(path), json.dumps(self.as_dict(), indent=2) + "\n")
        except OSError as error:
            raise EncodeError(
                f"report {path} cannot be written ({error.strerror}), but {self.outfile} is complete; "
                "choose another --report"
            ) from error


def installed_versions() -> dict[str, str]:
    """Versions of the packages that matter to a result, by what pip says: nothing is imported for it."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
