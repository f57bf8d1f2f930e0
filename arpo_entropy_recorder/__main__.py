"""`python -m arpo_entropy_recorder`: the same as `arpo-entropy`."""

import sys

from arpo_entropy_recorder.cli import main

if __name__ == "__main__":
    sys.exit(main())
