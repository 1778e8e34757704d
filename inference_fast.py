#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

import os

from gpu_lipsync.cli import main

if __name__ == "__main__":
    exit_code = main(own_process=True)
    # Everything is written, flushed and closed. Taking torch apart library by library costs another second, which the
    # caller would wait for.
    os._exit(exit_code)
