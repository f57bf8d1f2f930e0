#!/usr/bin/env python3
"""The guide's plot_entropy.py: `arpo-entropy plot` under the name and with the options that it documents.

Where no other figure is asked for, it draws the guide's.
"""

import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE))  # so that a clone works before it is installed
# What asks for another figure than the guide's; a log has means alone.
OTHER_FIGURE = ("-f", "--figure", "--style", "--log-file", "--log_file")


def main() -> int:
    try:
        from arpo_entropy_recorder.cli import main as arpo_entropy

        words = sys.argv[1:]
        style = () if any(word.startswith(OTHER_FIGURE) for word in words) else ("--style", "guide")
        return arpo_entropy(["plot", *style, *words])
    except ModuleNotFoundError as error:
        print(f"plot_entropy.py: error: needs {error.name}: pip install '{CLONE}'", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
