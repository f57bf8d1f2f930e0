"""scripts/apply_patch.sh on small trees around the patch's own context, and on a real clone if there is one."""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from command_line import in_this_process
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "apply_patch.sh"
PATCH = ROOT / "patches" / "verl_arpo_entropy.patch"
WORKERS = "verl/workers/fsdp_workers.py"
TRAINER = "verl/trainer/ppo/ray_trainer.py"
ROLLOUT = "verl/workers/rollout/vllm_rollout/vllm_rollout_with_tools.py"

spec = importlib.util.spec_from_file_location("apply_patch", ROOT / "scripts" / "apply_patch.py")
apply_patch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(apply_patch)


# The first lines of the statements whose last lines are in a hunk's context, in the order of the hunks.
OPENERS = (
    '                elif mode == "sync_with_tool":',
    "            # an empty line comes first",
    "                gen_batch = batch.pop(",
)


def stock_files():
    """File -> its hunks' context, at the line numbers that the patch names, with filler in between."""
    files, lines, openers = {}, [], iter(OPENERS)
    for line in PATCH.read_text().splitlines():
        if line.startswith("--- a/"):
            lines = files[line[len("--- a/") :]] = []
        elif line.startswith("@@ "):
            start = int(line.split()[1][1:].split(",")[0])
            lines += [f"# line {number}" for number in range(len(lines) + 1, start - 1)]
            lines.append(next(openers))
        elif line.startswith(" ") and lines:
            lines.append(line[1:])
    return {file: "\n".join([*lines, "# the end", ""]) for file, lines in files.items()}


STOCK = stock_files()


def make_tree(tree, files=None):
    for file, text in {**STOCK, ROLLOUT: "", **(files or {})}.items():
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_bytes(text.encode("latin-1"))
    return tree


def contents(tree):
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def run(*words):
    """Status and what is printed of the script's program, in this process: to start one takes a third of a second."""
    with patch.object(sys, "argv", ["apply_patch.sh", *map(str, words)]):
        return in_this_process(apply_patch.main)


def run_script(*words):
    """The same of the script itself, as a user calls it."""
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def succeed(*words, run=run):
    status, printed, errors = run(*words)
    assert (status, errors) == (0, "")
    return printed


def refuse(*words, run=run):
    """The one line that a refusal prints."""
    status, printed, errors = run(*words)
    assert (status, printed) == (2, "")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize(
    "command", [["patch", "-p1", "-i", str(PATCH)], ["git", "apply", str(PATCH)]], ids=lambda c: c[0]
)
def test_patch_file_and_script_make_the_same_bytes(tmp_path, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed, so the patch file was not tried with it")
    # The tree is a folder inside a git repository, as it is in a clone.
    subprocess.run(["git", "init", "-q", tmp_path], check=False)
    with_tool, with_script = make_tree(tmp_path / "ARPO" / "tool"), make_tree(tmp_path / "ARPO" / "script")
    subprocess.run(command, cwd=with_tool, check=True, capture_output=True, timeout=60)
    assert contents(with_tool) != contents(make_tree(tmp_path / "stock"))
    succeed(with_script)
    assert contents(with_tool) == contents(with_script)
    assert "already applied" in succeed(with_tool)
    succeed(with_tool, "--revert")
    assert contents(with_tool) == contents(tmp_path / "stock")


def test_second_run_says_so_and_touches_nothing(tmp_path):
    tree = make_tree(tmp_path / "tree")
    assert succeed(tree, run=run_script) == f"{tree}: applied\n"
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tree.rglob("*")}
    assert succeed(tree) == f"{tree}: already applied\n"
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tree.rglob("*")} == before


def test_check_changes_nothing(tmp_path):
    tree = make_tree(tmp_path / "tree")
    assert succeed(tree, "--check") == f"{tree}: can be applied\n"
    assert contents(tree) == contents(make_tree(tmp_path / "stock"))
    succeed(tree)
    assert succeed(tree, "--check") == f"{tree}: already applied\n"


def test_revert_of_a_stock_tree_does_nothing(tmp_path):
    tree = make_tree(tmp_path / "tree")
    assert "nothing to revert" in succeed(tree, "--revert")
    assert contents(tree) == contents(make_tree(tmp_path / "stock"))


def test_drifted_fork_gets_every_edit_and_is_restored(tmp_path):
    workers = STOCK[WORKERS].replace(
        "vllm_rollout_cls = vLLMRolloutWithTools\n",
        "vllm_rollout_cls = chosen.vLLMRolloutWithTools  # mine\n"
        '                elif mode == "tree":\n'
        "                    vllm_rollout_cls = vLLMRolloutWithTools\n",
    )
    trainer = "import more\n" * 300 + STOCK[TRAINER]
    for stock, drifted in {
        "gen_batch = batch.pop(": "gen_batch: DataProto = new_batch.pop(",
        "divisor(test_gen_batch, self.actor_rollout_wg.world_size)": "divisor(\n"
        "                test_gen_batch, max(1, self.actor_rollout_wg.world_size)\n            )  # all ranks",
        "                is_last_step = self": "                if again:\n"
        "                    gen_batch = batch.pop(batch_keys=(1, 2))\n"
        "                is_last_step = self",
    }.items():
        assert trainer.count(stock) == 1
        trainer = trainer.replace(stock, drifted)
    tree = make_tree(tmp_path / "tree", {WORKERS: workers, TRAINER: trainer})
    before = contents(tree)
    succeed(tree)
    record, validate, train = (edit.lines for edit in apply_patch.EDITS)
    indented = "".join(" " * 20 + line + "\n" for line in record)
    want = re.sub("(vllm_rollout_cls = .*Tools.*\n)", rf"\1{indented}", workers)
    assert (tree / WORKERS).read_text() == want
    want = trainer.replace("            if not self", f"            {validate[0]}\n            if not self")
    pops = want.split("non_tensor_batch_keys_to_pop,\n                )\n")
    want = f"non_tensor_batch_keys_to_pop,\n                )\n{'':16}{train[0]}\n".join(pops)
    want = want.replace("pop(batch_keys=(1, 2))\n", f"pop(batch_keys=(1, 2))\n{'':20}{train[0]}\n")
    assert (tree / TRAINER).read_text() == want
    succeed(tree, "--revert")
    assert contents(tree) == before


CODE = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20).map(
    lambda text: f"# {text}"
)
FILLERS = st.lists(CODE, max_size=3)


@given(
    st.tuples(FILLERS, FILLERS, FILLERS),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(["", "\t", "    "]),
)
def test_revert_gives_back_every_byte(fillers, eol, final_eol, indent):
    for file, stock in STOCK.items():
        edits = [edit for edit in apply_patch.EDITS if edit.file == file]
        before, inside, after = fillers
        lines = [*before, *stock.splitlines(), *inside, *after]
        text = eol.join(indent + line for line in lines) + (eol if final_eol else "")
        patched = apply_patch.patched(text, edits)
        assert len(patched) > len(text)
        assert apply_patch.unpatched(patched, edits) == text
        assert patched.count("\n") - patched.count("\r\n") == (0 if eol == "\r\n" else patched.count("\n"))


def test_other_changes_made_since_survive_a_revert(tmp_path):
    tree = make_tree(tmp_path / "tree")
    succeed(tree)
    path = tree / TRAINER
    path.write_bytes(
        b"import mine\n" + path.read_bytes() + b"# neither UTF-8 \xe9 nor one kind of line end\r\nend()"
    )
    succeed(tree, "--revert")
    want = (
        b"import mine\n" + STOCK[TRAINER].encode() + b"# neither UTF-8 \xe9 nor one kind of line end\r\nend()"
    )
    assert path.read_bytes() == want


@pytest.mark.parametrize("words", [[], ["--revert"], ["--check"]], ids=str)
def test_lines_changed_by_hand_are_left_alone(tmp_path, words):
    tree = make_tree(tmp_path / "tree")
    succeed(tree)
    path = tree / WORKERS
    path.write_text(
        path.read_text().replace("record_entropy(vllm_rollout_cls)", "mine(record_entropy(vllm_rollout_cls))")
    )
    before = contents(tree)
    message = refuse(tree, *words)
    assert f"{WORKERS}: line 435 " in message
    assert "changed by hand" in message
    assert contents(tree) == before


def test_tree_of_which_one_file_was_restored_is_completed(tmp_path):
    tree = make_tree(tmp_path / "tree")
    succeed(tree)
    want = contents(tree)
    (tree / WORKERS).write_text(STOCK[WORKERS])
    assert succeed(tree) == f"{tree}: applied\n"
    assert contents(tree) == want


@pytest.mark.parametrize(
    ("file", "anchor"),
    [
        (WORKERS, "vllm_rollout_cls = vLLMRolloutWithTools"),
        (TRAINER, "test_gen_batch_padded, pad_size = pad_dataproto_to_divisor("),
        (TRAINER, "gen_batch = batch.pop("),
    ],
)
def test_missing_anchor_is_named_and_no_file_changes(tmp_path, file, anchor):
    tree = make_tree(tmp_path / "tree", {file: STOCK[file].replace(anchor, "something_else")})
    before = contents(tree)
    for words in ([], ["--check"]):
        message = refuse(tree, *words)
        assert str(tree / file) in message
        assert anchor in message
        assert contents(tree) == before


@pytest.mark.parametrize(
    ("anchor", "drifted"),
    [
        ("divisor(test_gen_batch, self.actor_rollout_wg.world_size)", "divisor(*padded(test_gen_batch))[:2]"),
        ("divisor(test_gen_batch, self.actor_rollout_wg.world_size)", "divisor(test_gen_batch,\n  8)"),
        ("divisor(test_gen_batch, self.actor_rollout_wg.world_size)", "divisor(test_gen_batch, 8); done = 1"),
        ("gen_batch = batch.pop(", "gen_batch = batch.pop(self.keys).to(device) if (\n"),
    ],
)
def test_a_statement_whose_end_is_not_sure_is_refused_however_the_file_goes_on(tmp_path, anchor, drifted):
    assert STOCK[TRAINER].count(anchor) == 1
    text = STOCK[TRAINER].replace(anchor, drifted) + "            later(\n            )\n"
    tree = make_tree(tmp_path / "tree", {TRAINER: text})
    before = contents(tree)
    message = refuse(tree)
    assert re.search(r"the anchor `.*` in line \d+ goes on in a way that is not known here; put", message)
    assert contents(tree) == before


def test_of_two_statements_none_is_left_without_its_edit(tmp_path):
    text = (
        STOCK[TRAINER]
        + "            gen_batch = batch.pop(batch_keys=one,\n                                  more=two)\n"
    )
    tree = make_tree(tmp_path / "tree", {TRAINER: text})
    before = contents(tree)
    assert f"in line {text.count(chr(10)) - 1} goes on" in refuse(tree)
    assert contents(tree) == before


def test_missing_file_is_named(tmp_path):
    tree = make_tree(tmp_path / "tree")
    (tree / TRAINER).unlink()
    assert str(tree / TRAINER) in refuse(tree)
    assert (tree / WORKERS).read_text() == STOCK[WORKERS]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_folder_that_is_no_such_tree_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    message = refuse(tmp_path / name)
    assert str(tmp_path / name) in message
    assert ROLLOUT in message


def test_clone_with_spaces_holds_arpo_and_aepo(tmp_path):
    clone = tmp_path / "my clone"
    arpo = make_tree(clone / "ARPO" / "verl_arpo_entropy")
    aepo = make_tree(clone / "AEPO" / "verl_aepo_entropy")
    before = contents(clone)
    assert succeed(clone, run=run_script) == f"{aepo}: applied\n{arpo}: applied\n"
    assert contents(arpo) == contents(aepo) != contents(make_tree(tmp_path / "stock"))
    assert succeed(clone / "ARPO") == f"{arpo}: already applied\n"
    succeed(clone, "--revert")
    assert contents(clone) == before


def test_clone_of_which_one_tree_cannot_be_patched_stays_whole(tmp_path):
    make_tree(tmp_path / "clone" / "AEPO" / "verl_aepo_entropy")
    make_tree(tmp_path / "clone" / "ARPO" / "verl_arpo_entropy", {TRAINER: "pass\n"})
    before = contents(tmp_path)
    refuse(tmp_path / "clone")
    assert contents(tmp_path) == before


def test_an_empty_path_is_not_the_working_directory(tmp_path, monkeypatch):
    make_tree(tmp_path)
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "empty" in refuse("", run=run_script)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("closed", ["wandb", "verl_arpo_entropy"])
def test_a_directory_that_may_not_be_entered_stops_only_what_is_in_it(closed, tmp_path, monkeypatch, capsys):
    tree = make_tree(tmp_path / "verl_arpo_entropy")
    (tmp_path / "wandb").mkdir()
    is_file = Path.is_file

    def refuse_to_enter(path):  # root, who may run the tests, may enter all
        if tmp_path / closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse_to_enter)
    monkeypatch.setattr("sys.argv", ["apply_patch.sh", str(tmp_path)])
    status, printed = apply_patch.main(), capsys.readouterr()
    if closed == "wandb":
        assert (status, printed.out) == (0, f"{tree}: applied\n")
    else:
        assert (status, printed.err) == (2, f"apply_patch: {tree}: Permission denied\n")


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", ">&-"])
def test_what_was_done_stays_done_where_it_cannot_be_printed(tmp_path, redirection):
    tree = make_tree(tmp_path / "漢字")
    command = f"'{SCRIPT}' '{tree}' {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    if redirection == ">/dev/full":
        assert done.stderr == f"apply_patch: {tree}: applied (standard output: No space left on device)\n"
    assert "already applied" in succeed(tree)


def test_a_terminal_that_lacks_the_paths_characters_is_shown_them_escaped(tmp_path):
    tree = make_tree(tmp_path / "漢字")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([SCRIPT, tree], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\\u6f22\\u5b57: applied\n")


def test_links_in_a_circle_are_one_line(tmp_path):
    tree = make_tree(tmp_path / "tree")
    (tree / TRAINER).unlink()
    (tree / TRAINER).symlink_to(tree / TRAINER)
    assert str(tree / TRAINER) in refuse(tree)


def test_link_stays_a_link_and_read_only_file_stays_read_only(tmp_path):
    tree = make_tree(tmp_path / "tree")
    real = tmp_path / "kept elsewhere.py"
    (tree / WORKERS).rename(real)
    (tree / WORKERS).symlink_to(real)
    (tree / TRAINER).chmod(0o444)
    succeed(tree)
    assert (tree / WORKERS).is_symlink()
    assert "record_entropy" in real.read_text()
    assert "global_steps" in (tree / TRAINER).read_text()
    assert stat.S_IMODE((tree / TRAINER).stat().st_mode) == 0o444


@pytest.mark.parametrize("words", [[], ["--revert"]], ids=str)
def test_write_that_fails_half_way_is_taken_back(tmp_path, monkeypatch, capsys, words):
    tree = make_tree(tmp_path / "tree")
    if words:
        succeed(tree)
    before = contents(tree)
    rename = os.replace
    monkeypatch.setattr("sys.argv", ["apply_patch.sh", str(tree), *words])

    def fail_for_the_trainer(source, target):
        if Path(target).name == "ray_trainer.py":
            raise PermissionError(13, "Permission denied", str(target))
        rename(source, target)

    monkeypatch.setattr(apply_patch.os, "replace", fail_for_the_trainer)
    assert apply_patch.main() == 2
    assert (
        f"{TRAINER}: cannot be written (Permission denied); nothing was changed\n" in capsys.readouterr().err
    )
    assert contents(tree) == before


def test_patch_file_adds_lines_only():
    body = [line for line in PATCH.read_text().splitlines() if line[:4] not in ("--- ", "+++ ")]
    assert [line for line in body if line.startswith("-")] == []
    assert len([line for line in body if line.startswith("+")]) == 4


@pytest.mark.arpo
def test_real_clone_compiles_and_is_restored(arpo_root, tmp_path):
    clone = tmp_path / "clone"
    for tree in apply_patch.trees(arpo_root):
        for file in (WORKERS, TRAINER, ROLLOUT):
            target = clone / tree.relative_to(arpo_root) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / file, target)
    before = contents(clone)
    succeed(clone)
    after = contents(clone)
    for file, text in after.items():
        compile(text, file, "exec")
    changed = [file for file in after if after[file] != before[file]]
    assert len(changed) == 2 * len(apply_patch.trees(clone))
    succeed(clone, "--revert")
    assert contents(clone) == before
    own = clone / "ARPO" / "verl_arpo_entropy"
    if own in apply_patch.trees(clone):  # the patch file is ARPO's; for forks the script finds the places
        succeed(own)
        subprocess.run(["patch", "-p1", "-R", "-i", PATCH], cwd=own, check=True, capture_output=True)
        assert contents(clone) == before
