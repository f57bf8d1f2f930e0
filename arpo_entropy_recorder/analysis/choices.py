"""What a reader may choose among and from when on, for help texts too: imports no numpy."""

from __future__ import annotations

# Which entropy of a segment is looked at: the first token's, or the mean over the recorded window.
FIRST, MEAN = "first", "mean"
OVER = (FIRST, MEAN)
# From so many steps on a run has a trend; of fewer no phases are made.
MIN_STEPS = 20
