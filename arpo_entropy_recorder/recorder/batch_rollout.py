"""What a recorder knows of one generate_sequences call while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
from arpo_entropy_recorder.recorder.trajectory import Segment


@dataclass
class Call:
    """One call: the batch that it answers and the segments generated so far."""

    batch: Batch
    global_step: int
    tracker: TrajectoryTracker
    segments: list[Segment] = field(default_factory=list)
    # What the running `generate` was asked for.
    announced: list[Segment] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    incomplete: bool = False
