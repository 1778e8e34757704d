#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

import os
import signal


def _interrupted(*_: object) -> None:
    os.write(2, b"interrupted: nothing was written\n")
    os._exit(130)


if __name__ == "__main__":
    # Until the command heeds signals itself: an import that an interrupt ends is a page of traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)

    from gpu_lipsync.cli import command

    command()
