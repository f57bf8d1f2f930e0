"""How records lie on disk: names, text, shards that join, and the checks of what is read."""
