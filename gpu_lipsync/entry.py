"""Where the command begins, before what takes time is imported: an interrupt then is answered in one line, too."""

import os
import signal
from typing import NoReturn


def command() -> NoReturn:
    """Run the command and end the process with it: what `inference_fast.py` and the installed `gpu-lipsync` do."""
    # Until the command heeds signals itself: an import that an interrupt ends is a page of traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)

    from gpu_lipsync.cli import main

    exit_code = main(own_process=True)
    # Everything is written, flushed and closed. Taking torch apart library by library costs another second, which the
    # caller would wait for.
    os._exit(exit_code)


def _interrupted(*_: object) -> None:
    try:
        os.write(2, b"interrupted: nothing was written\n")
    finally:  # closed, or its reader gone
        os._exit(130)
