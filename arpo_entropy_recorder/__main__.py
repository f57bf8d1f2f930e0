"""`python -m arpo_entropy_recorder`: the same as `arpo-entropy`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
