#!/usr/bin/env python3
"""The guide's plot_entropy.py: `arpo-entropy plot` under the name and with the options that it documents."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a clone works before it is installed

from arpo_entropy_recorder.cli import main

if __name__ == "__main__":
    sys.exit(main(["plot", *sys.argv[1:]]))
