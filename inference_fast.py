#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

import sys

from gpu_lipsync.cli import main

if __name__ == "__main__":
    sys.exit(main())
