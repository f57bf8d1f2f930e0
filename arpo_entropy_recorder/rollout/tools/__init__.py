"""The tools that a policy may call: `python`, and `search` by a command or a file of results."""
