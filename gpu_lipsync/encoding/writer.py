"""The one output file: encoded once, written beside the target and renamed when it is complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.encoder_choice import encoder_errors, open_backend
from gpu_lipsync.encoding.encoders import cannot_write
from gpu_lipsync.encoding.partial_file import permit_as, remove_folders, require_on_disk, reserve, write_into
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.errors import EncodeError, first_line, is_shortage, shortage
from gpu_lipsync.ops.yuv import prepare_yuv
from gpu_lipsync.process.device import side_stream
from gpu_lipsync.process.threads import Sink

_QUEUED_BATCHES = 2
_AT_A_TIME = 8  # frames: to be converted, for 12 bytes a pixel, and to be waited for where a run is broken off


class Writer:
    """Encodes batches of frames in a thread; the file appears at its place with `finish`, or not at all."""

    def __init__(
        self, target: Path, shape: StreamShape, config: EncodeConfig, device: torch.device, *, suffix: str
    ) -> None:
        self.notes: list[str] = []
        self._target = target
        self._size = f"{shape.width}x{shape.height}"
        on_cuda = device.type == "cuda" and torch.cuda.is_available()
        if on_cuda:
            prepare_yuv(device)  # on the stream that the encoding of all runs waits for, not on this run's own
        self._until_closed = ExitStack()
        self._partial, self._made_folders = reserve(target, suffix)
        try:
            self._file = os.open(self._partial, os.O_RDONLY)
            self._until_closed.callback(os.close, self._file)
            self._backend = open_backend(self._partial, shape, config, device, self.notes, target=target)
            self._encoder_errors = encoder_errors()
            self.encoder = self._backend.name
            self._finished = False
            self._stream: torch.cuda.Stream | None = None
            if on_cuda:
                self._stream = self._until_closed.enter_context(side_stream(device))
            self._sink: Sink[tuple[Tensor, Any]] = Sink(self._encode, depth=_QUEUED_BATCHES)
        except BaseException:
            self._until_closed.close()
            self._discard()
            raise

    def write(self, frames: Tensor) -> None:
        """Queue frames for encoding: (B, 3, H, W) uint8 RGB, or on the host (B, H * 3 // 2, W) 4:2:0 of even sides.

        Raises:
            EncodeError: an earlier batch could not be written.
            RuntimeError: of lack of memory, on the device or the host, as the encoder's thread met it.
        """
        rendered = None
        if self._stream is not None:
            rendered = torch.cuda.current_stream(frames.device).record_event()
        self._sink.put((frames, rendered))

    def finish(self, settle: Callable[[], None] | None = None) -> None:
        """Wait for the encoder, complete the file and put it in its place; `settle` is called just before that.

        Raises:
            EncodeError: something could not be written.
        """
        self._sink.close()
        with self._failure_named():
            self._backend.finish()
            require_on_disk(self._file)
        if settle is not None:
            settle()
        with self._failure_named():
            self._put_in_place()
        self._finished = True

    def _put_in_place(self) -> None:
        with suppress(FileNotFoundError):
            before = self._target.stat()
            permit_as(self._partial, before)
            with suppress(OSError):  # none but root gives files away
                os.chown(self._partial, before.st_uid, -1)
        try:
            os.replace(self._partial, self._target)
        except OSError as error:
            # A file that is mounted by itself, or another user's in a folder like /tmp: written into, never replaced.
            if error.errno not in (errno.EBUSY, errno.EPERM, errno.EACCES) or not self._target.is_file():
                raise
            write_into(self._target, self._partial)
            self._partial.unlink()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        with self._until_closed:
            if not self._finished:
                try:
                    self._sink.abort()
                    # First: closing would write the whole of an MP4 once more, to put its index in front.
                    with suppress(OSError):
                        self._partial.unlink(missing_ok=True)
                    with suppress(*self._encoder_errors):  # the error that led here is the one to tell
                        self._backend.abandon()
                finally:  # waiting for the encoder can be interrupted in its turn
                    self._discard()
            del self._sink, self._backend  # the one knows this writer, the other holds an encoder's memory

    def _encode(self, item: tuple[Tensor, Any]) -> None:
        frames, rendered = item
        if self._stream is None:
            self._write(frames)
            return
        # A stream of its own: converting and copying wait for this batch, not for the network's next one.
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(rendered)
            frames.record_stream(self._stream)
            self._write(frames)

    def _write(self, frames: Tensor) -> None:
        for part in frames.split(_AT_A_TIME):
            if self._sink.aborted:
                return
            with self._failure_named():
                self._backend.write(even_sided(part) if part.ndim == 4 else part)

    @contextmanager
    def _failure_named(self) -> Iterator[None]:
        """Turn what an encoder raises into this program's error; around its calls only, or bugs of ours would pass."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self._target, error) from error
        except self._encoder_errors as error:
            if is_shortage(error):
                raise shortage(f"{self._target} cannot be written", error) from error
            raise EncodeError(
                f"{self._target} cannot be written: {self.encoder} failed on frames of {self._size} "
                f"({first_line(error)}); make them smaller with --resize_factor 2 or --crop, or use another --encoder"
            ) from error

    def _discard(self) -> None:
        with suppress(OSError):  # the error that led here is the one to tell
            self._partial.unlink(missing_ok=True)
        remove_folders(self._made_folders)


def open_writer(
    target: str | Path, shape: StreamShape, config: EncodeConfig, *, device: torch.device | str = "cpu"
) -> Writer:
    """Open the output; a context manager.

    Raises:
        EncodeError: the folder cannot be made or written, or no encoder opens.
    """
    # Through a link the file that it names is written, as by any other program.
    try:
        where = Path(os.path.realpath(target))
    except OSError as error:  # a relative one, and the folder that it is relative to is gone
        raise cannot_write(Path(target), error) from error
    return Writer(where, shape, config, torch.device(device), suffix=Path(target).suffix)


def even_sided(frames: Tensor) -> Tensor:
    """Repeat the last row and column where a side is odd: 4:2:0 has no odd sizes."""
    height, width = frames.shape[2:]
    if height % 2:
        frames = torch.cat((frames, frames[:, :, -1:]), dim=2)
    if width % 2:
        frames = torch.cat((frames, frames[:, :, :, -1:]), dim=3)
    return frames
