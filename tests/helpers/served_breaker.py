"""A plug-in of vLLM that breaks the recorder: its hook on outputs raises while the file $BREAKS is there."""

import os
from pathlib import Path

from package_metadata import announce


def announce_breaker(folder):
    """Have vLLM find the plug-in in processes that have the folder on their path; returns what goes there."""
    announce(folder, "served-breaker", "0", "breaker = served_breaker:register")
    return os.pathsep.join([str(folder), str(Path(__file__).parent)])


def register():
    from arpo_entropy_recorder.live.serve.open_turn import OpenTurn

    original = OpenTurn.see

    def see(turn, output):
        if os.path.exists(os.environ["BREAKS"]):
            raise RuntimeError("broken on purpose")
        original(turn, output)

    OpenTurn.see = see
