"""A plug-in of vLLM that breaks the recorder: its hook on outputs raises while the file $BREAKS is there."""

import os
from pathlib import Path

ENTRY = "[vllm.general_plugins]\nbreaker = served_breaker:register\n"


def announce(folder):
    """Have vLLM find the plug-in in processes that have the folder on their path; returns what goes there."""
    info = Path(folder) / "served_breaker-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: served-breaker\nVersion: 0\n")
    (info / "entry_points.txt").write_text(ENTRY)
    return os.pathsep.join([str(folder), str(Path(__file__).parent)])


def register():
    from arpo_entropy_recorder.live.serve.front import OpenTurn

    original = OpenTurn.see

    def see(turn, output):
        if os.path.exists(os.environ["BREAKS"]):
            raise RuntimeError("broken on purpose")
        original(turn, output)

    OpenTurn.see = see
