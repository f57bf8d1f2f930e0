"""What an agent loop gave back (scripts/demo_verl/kept.py) beside what was recorded of it."""

import hashlib
from itertools import groupby


def turns(row):
    """[(prompt and all tokens before a turn of the policy, its tokens)]."""
    found, at, before = [], 0, list(row["prompt"])
    for is_policy, part in groupby(row["mask"]):
        length = len(list(part))
        tokens = row["response"][at : at + length]
        if is_policy:
            found.append((list(before), tokens))
        before += tokens
        at += length
    return found


def by_trajectory(records):
    ordered = sorted(records, key=lambda r: r["sample_idx"])
    return [list(rows) for _, rows in groupby(ordered, key=lambda r: r["sample_idx"])]


def digest(prompt):
    """The value of the key `prompt`, as docs/records.md says it."""
    text = b"".join(token.to_bytes(8, "little") for token in prompt)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def file_of(row):
    return f"entropy_{'validate_' if row['validate'] else ''}step_{row['step']}.json"


def pairs(rows, records, limit=None):
    """Each row that the loop gave back with its recorded trajectory; rows may read alike, and then either will do.

    limit: the length that verl cuts a response to, behind what the policy wrote and what is recorded.
    """
    for name in sorted(records):
        group = [row for row in rows if file_of(row) == name]
        recorded = by_trajectory(records[name])
        assert len(group) == len(recorded), name
        for row in group:
            found = [trajectory for trajectory in recorded if is_of(row, trajectory, limit)]
            assert found, f"{name}: {turns(row)} is not recorded"
            recorded.remove(found[0])
            yield row, found[0]


def is_of(row, trajectory, limit):
    """Whether the row's turns are the trajectory's, but for what was cut off of the last one."""
    written = [tokens for _, tokens in turns(row)]
    read = [record["tokens"] for record in trajectory]
    if len(row["response"]) == limit:
        read[-1] = read[-1][: len(written[-1])]
    return digest(row["prompt"]) == trajectory[0]["prompt"] and read == written
