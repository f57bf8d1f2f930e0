"""The file format: names, encoding, decoding with checks, and the joining of ranks' shards."""
