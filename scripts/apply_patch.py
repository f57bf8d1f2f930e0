"""Make the verl tree of an ARPO or AEPO clone record, or undo that. Run through apply_patch.sh.

Standard library only. The edit adds lines and changes none, so it is undone by taking out exactly the lines that it
added: whatever else the user changed in these files, before or since, stays. Text is read as latin-1, which maps
bytes to characters one to one, so that any encoding and any line ending comes back as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

WORKERS = "verl/workers/fsdp_workers.py"
TRAINER = "verl/trainer/ppo/ray_trainer.py"
ROLLOUT = "verl/workers/rollout/vllm_rollout/vllm_rollout_with_tools.py"


class CannotPatch(Exception):
    """One line for the user: which file, and what is missing or in the way."""


class Edit(NamedTuple):
    """`lines` go in after the group `eol` of every place where `where` matches, indented by its group `indent`."""

    file: str
    anchor: str
    # Of each such statement the beginning, in whatever way it goes on.
    begins: re.Pattern[str]
    where: re.Pattern[str]
    lines: tuple[str, ...]


def beginning(pattern: str) -> re.Pattern[str]:
    """A line that begins so, in any indentation."""
    return re.compile(rf"(?m)^[ \t]*{pattern}")


def statement(pattern: str) -> re.Pattern[str]:
    """A statement on lines of its own, with its comment, in any indentation and with either line end."""
    return re.compile(rf"(?m)^(?P<indent>[ \t]*){pattern}[ \t]*(?:#[^\r\n]*)?(?P<eol>\r?\n)")


# A call's arguments: on one line, or on lines that are indented deeper than the one that closes them.
ARGUMENTS = r"\((?:[^\r\n]*|[ \t]*\r?\n(?:(?P=indent)[ \t]+\S[^\r\n]*\r?\n)+(?P=indent))\)"
# Forks take the class from a module, or have more than one mode that picks it.
PICK = r"vllm_rollout_cls = (?:\w+\.)*vLLMRolloutWithTools\b"
PAD = r"test_gen_batch_padded, pad_size = pad_dataproto_to_divisor"
# Forks name the batch otherwise, or pop in one branch or another.
POP = r"gen_batch(?:: \w+)? = \w+\.pop"
EDITS = (
    Edit(
        WORKERS,
        "vllm_rollout_cls = vLLMRolloutWithTools",
        beginning(PICK),
        statement(PICK),
        (
            "from arpo_entropy_recorder.mixin import record_entropy  # missing? pip install -e arpo-entropy-recorder",
            "vllm_rollout_cls = record_entropy(vllm_rollout_cls)",
        ),
    ),
    Edit(
        TRAINER,
        "test_gen_batch_padded, pad_size = pad_dataproto_to_divisor(",
        beginning(PAD + r"\("),
        statement(PAD + ARGUMENTS),
        (
            "test_gen_batch_padded.meta_info.update(global_steps=self.global_steps, pad_size=pad_size)"
            "  # for arpo-entropy-recorder",
        ),
    ),
    Edit(
        TRAINER,
        "gen_batch = batch.pop(",
        beginning(POP + r"\("),
        statement(POP + ARGUMENTS),
        ('gen_batch.meta_info["global_steps"] = self.global_steps  # for arpo-entropy-recorder',),
    ),
)
# What is left of the edit once its own lines are out was changed by hand.
TRACE = re.compile(r"(?m)^.*(?:arpo[_-]entropy[_-]recorder|record_entropy\(vllm_rollout_cls).*$")


def patched(text: str, edits: list[Edit]) -> str:
    """`text`, which holds none of the edits, with all of them."""
    for edit in edits:
        check(text, edit)
    for edit in edits:
        for place in reversed(list(edit.where.finditer(text))):
            added = "".join(place["indent"] + line + place["eol"] for line in edit.lines)
            text = text[: place.end("eol")] + added + text[place.end("eol") :]
    return text


def check(text: str, edit: Edit) -> None:
    """Raise CannotPatch unless there is such a statement, and of each such statement it is known where it ends."""
    begun = [match.start() for match in edit.begins.finditer(text)]
    known = {place.start() for place in edit.where.finditer(text)}
    if not begun:
        raise CannotPatch(f"the anchor `{edit.anchor}` is missing")
    for at in begun:
        if at not in known:
            raise CannotPatch(
                f"the anchor `{edit.anchor}` in line {text.count(chr(10), 0, at) + 1} goes on in a way that is not "
                "known here; put its arguments on one line, or on lines of their own"
            )


def unpatched(text: str, edits: list[Edit]) -> str:
    """`text` without the lines of the edits that it holds."""
    original = text
    for edit in edits:
        first, *more = map(re.escape, edit.lines)
        rest = "".join(rf"(?P=indent){line}(?P=eol)" for line in more)
        text = re.sub(rf"(?m)^(?P<indent>[ \t]*){first}(?P<eol>\r?\n){rest}", "", text)
    if trace := TRACE.search(text):
        line = original[: original.index(trace[0])].count("\n") + 1
        raise CannotPatch(
            f"line {line} belongs to this edit but was changed by hand; put it right or take it out"
        )
    return text


def trees(path: Path) -> list[Path]:
    """The verl trees at `path`, in it, or one level further down (an ARPO clone that has AEPO holds two)."""
    found, closed = [], []
    for tree in (path, *sorted(path.glob("*/")), *sorted(path.glob("*/*/"))):
        try:
            if (tree / ROLLOUT).is_file():
                found.append(tree)
        except OSError as error:  # somebody else's directory in the clone is no reason to stop
            closed.append(f"{tree}: {error.strerror}")
    if not found and closed:
        raise CannotPatch(closed[0])
    if not found:
        raise CannotPatch(f"{path}: neither an ARPO or AEPO clone nor its verl tree: {ROLLOUT} is missing")
    return found


def plan(tree: Path, revert: bool) -> dict[Path, tuple[str, str]]:
    """Path, text now and text wanted of each file of a tree."""
    texts = {}
    for file in (WORKERS, TRAINER):
        edits = [edit for edit in EDITS if edit.file == file]
        try:
            path = (tree / file).resolve(strict=True)
            text = path.read_bytes().decode("latin-1")
            original = unpatched(text, edits)
            texts[path] = (text, original if revert else patched(original, edits))
        except OSError as error:
            raise CannotPatch(f"{tree / file}: {error.strerror}") from None
        except RuntimeError:  # how Python before 3.13 tells it
            raise CannotPatch(f"{tree / file}: its symbolic links go in a circle") from None
        except CannotPatch as error:
            raise CannotPatch(f"{tree / file}: {error}") from None
    return texts


def replace(path: Path, text: str) -> None:
    """Write under a temporary name and rename, so that the file is never half written. Keeps mode and owner."""
    tmp_path = path.with_name(f".{path.name}.arpo-entropy")
    try:
        tmp_path.write_bytes(text.encode("latin-1"))
        shutil.copymode(path, tmp_path)
        with contextlib.suppress(OSError):
            os.chown(tmp_path, path.stat().st_uid, path.stat().st_gid)
        os.replace(tmp_path, path)
    except OSError:
        with contextlib.suppress(OSError):
            tmp_path.unlink(missing_ok=True)
        raise


def replace_all(changes: dict[Path, tuple[str, str]]) -> None:
    """All files or none."""
    done: list[Path] = []
    try:
        for path, (_, wanted) in changes.items():
            replace(path, wanted)
            done.append(path)
    except OSError as error:
        for changed in done:
            replace(changed, changes[changed][0])
        raise CannotPatch(f"{path}: cannot be written ({error.strerror}); nothing was changed") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="apply_patch.sh", description="Make ARPO's verl tree record entropies."
    )
    parser.add_argument("path", help="an ARPO clone, its verl_arpo_entropy, or AEPO's verl_aepo_entropy")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; say whether it can be applied")
    mode.add_argument("--revert", action="store_true", help="take the added lines out again")
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # a path may have characters that the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        if not options.path:
            raise CannotPatch("the path is empty; is a variable unset?")
        planned = {tree: plan(tree, options.revert) for tree in trees(Path(options.path))}
        changes = {
            path: (now, wanted)
            for texts in planned.values()
            for path, (now, wanted) in texts.items()
            if now != wanted
        }
        if not options.check:
            replace_all(changes)
    except CannotPatch as error:
        print(f"apply_patch: {error}", file=sys.stderr)
        return 2
    for tree, texts in planned.items():
        if all(path not in changes for path in texts):
            say(f"{tree}: {'not applied, nothing to revert' if options.revert else 'already applied'}")
        elif options.check:
            say(f"{tree}: can be applied")
        else:
            say(f"{tree}: {'reverted' if options.revert else 'applied'}")
    return 0


def say(line: str) -> None:
    """Print what was done, which stays done where that cannot be written: a full disk, a reader that has gone."""
    try:
        print(line, flush=True)
    except OSError as error:
        print(f"apply_patch: {line} (standard output: {error.strerror})", file=sys.stderr)
        # Or Python would complain at exit of what it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
