"""Shows that tests can fail: each entry is an edit of the code that makes the named test fail.

`python tests/helpers/mutations.py [WORD ...]` copies the tree to a temporary folder, runs each test on the
unchanged code, makes one edit at a time and runs it again. It ends with 1 if an edit no longer applies, if a test
passes on the broken code, or if it fails on the whole one. Entries whose test lacks a package are named and left
out; words choose entries by what their file or test contains.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "arpo_entropy_recorder"
NEEDED = {"unit": (), "torch": ("torch", "transformers"), "engine": ("vllm",), "faults": ("vllm",)}
# A test that waits for ever has failed, too.
TIMEOUT_S = {"unit": 120, "torch": 300, "engine": 560, "faults": 560}


class Mutation(NamedTuple):
    """Instead of `old`, which stands once in the package's `file`, `new` makes `test` of tests/ fail."""

    file: str
    old: str
    new: str
    test: str

    @property
    def level(self) -> str:
        return self.test.partition("/")[0]


MUTATIONS = [
    # Lineage is right or marked.
    Mutation(
        "recorder/trajectory.py",
        "if len(tokens) == shared < length:",
        "if len(tokens) < shared < length:",
        "unit/test_lineage.py::test_what_only_gets_shorter_is_a_branch",
    ),
    Mutation(
        "recorder/results.py",
        "return False if opener and tokens[0] != opener[0] else None",
        "return True",
        "unit/test_lineage.py::test_a_notice_after_a_stop_tag_is_null",
    ),
    Mutation(
        "recorder/results.py",
        "if self._all_begin and opener and self._begins(opener):",
        "if self._all_begin:",
        "unit/test_result_forms.py::test_what_is_learnt_is_that_of_every_result",
    ),
    Mutation(
        "recorder/lineage.py",
        "if any(low <= shared <= high for low, high in taken):",
        "if False:",
        "unit/test_lineage.py::test_labels_are_right_or_marked",
    ),
    Mutation(
        "recorder/closest.py",
        "while found is not None and not found.same_objects:",
        "while False:",
        "unit/test_lineage.py::test_the_very_objects_beat_a_longer_text_alike",
    ),
    Mutation(
        "recorder/trajectory.py",
        "mid_start=self.prompt_len < shared <= self.start_len,",
        "mid_start=False,",
        "unit/test_lineage.py::test_labels_of_mixed_habits_are_right_or_marked",
    ),
    Mutation(
        "recorder/batch.py",
        "if in_turn != sorted(in_turn):",
        "if False:",
        "torch/test_batch.py::test_rows_that_read_the_same_are_doubtful_in_another_order",
    ),
    Mutation(
        "recorder/self_check.py",
        "not_followed += 1",
        "not_followed += 0",
        "unit/test_self_check.py::test_a_response_that_was_not_followed_is_told",
    ),
    # A file is whole or absent.
    Mutation(
        "atomic.py",
        "        yield tmp_path\n        os.replace(tmp_path, path)",
        "        yield path",
        "unit/test_plot.py::test_a_picture_that_fails_half_way_leaves_the_old_one",
    ),
    Mutation(
        "atomic.py",
        "with suppress(OSError):\n        directory =",
        "with suppress():\n        directory =",
        "unit/test_write.py::test_a_file_system_that_cannot_sync_a_directory_has_the_files_all_the_same",
    ),
    # A failed write is not a lost step.
    Mutation(
        "step_files/write.py",
        "        for step in self._memory.waiting:\n",
        "        for step in self._memory.waiting:\n            step.waits = False\n",
        "unit/test_write.py::test_what_cannot_be_written_waits_and_the_log_says_how_much",
    ),
    Mutation(
        "step_files/write.py",
        "if not isinstance(error, (IsADirectoryError, PermissionError)):",
        "if True:",
        "unit/test_write.py::test_a_step_whose_name_is_taken_waits_alone",
    ),
    Mutation(
        "step_files/memory.py",
        "if not step.waits and key not in kept:",
        "if False:",
        "unit/test_write.py::test_a_long_run_keeps_nothing_of_the_steps_written",
    ),
    # Many writers.
    Mutation(
        "step_files/run_log.py",
        "fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "unit/test_write.py::test_a_second_job_on_a_directory_is_refused_until_the_first_is_dead",
    ),
    Mutation(
        "step_files/merge.py",
        "    remove_shards(directory, sorted(",
        "    str((directory, sorted)) and list(sorted(",
        "unit/test_merge.py::test_the_last_rank_joins_the_shards_by_rank_then_call",
    ),
    Mutation(
        "step_files/merge.py",
        "        for r in range(dp_size):\n            if r in newest:",
        "        for r in reversed(range(dp_size)):\n            if r in newest:",
        "unit/test_merge.py::test_the_last_rank_joins_the_shards_by_rank_then_call",
    ),
    Mutation(
        "step_files/merge.py",
        "runs_by_rank)\n                except OSError as error:",
        "runs_by_rank)\n                except ZeroDivisionError as error:",
        "unit/test_merge.py::test_a_step_whose_name_is_taken_is_in_no_other_steps_way",
    ),
    # Resume.
    Mutation(
        "step_files/write.py",
        "if not self._memory.takes(key):",
        "if False:",
        "unit/test_write.py::test_going_back_within_one_process_counts_as_a_new_run",
    ),
    Mutation(
        "step_files/run_log.py",
        "and (self.run <= run or self.run in self.first)",
        "",
        "unit/test_merge.py::test_what_a_resumed_rank_has_not_recorded_again_is_missing_not_mixed_in",
    ),
    Mutation(
        "step_files/run_log.py",
        "seen = [highest_run(directory) + 1]",
        "seen = []",
        "unit/test_write.py::test_step_files_without_their_journal_are_older_than_what_is_recorded_there",
    ),
    # Hostile and broken input.
    Mutation(
        "step_files/find.py",
        "if not stat.S_ISREG(status.st_mode):",
        "if False:",
        "unit/test_read.py::test_a_fifo_is_refused_at_once",
    ),
    Mutation(
        "step_files/find.py",
        "if status.st_size > MAX_FILE_BYTES:",
        "if False:",
        "unit/test_read.py::test_a_file_of_five_gigabytes_is_refused_without_being_read",
    ),
    Mutation(
        "errors.py",
        "c if c.isprintable() else",
        "c if True else",
        "unit/test_hostile.py::test_what_is_typed_comes_back_escaped_in_one_line",
    ),
    Mutation(
        "rollout/tools/python.py",
        'env={"HOME": directory,',
        'env=os.environ | {"HOME": directory,',
        "unit/test_tools.py::test_python_is_given_nothing_of_this_process",
    ),
    # Answers.
    Mutation(
        "analysis/ratio.py",
        "confidence) ** 2 / (n * (n - 1))",
        "confidence) ** 2 / (n * n)",
        "unit/test_ratio.py::test_the_interval_inverts_the_paired_t_test",
    ),
    Mutation(
        "analysis/trend.py",
        "dated and last.ratio.high < 1",
        "dated and last.ratio.ratio < 1",
        "unit/test_trend.py::test_null_runs_seldom_get_a_verdict_and_a_since",
    ),
    Mutation(
        "analysis/pairs.py",
        "total[both] / count[both], initial[both])",
        "total[both], initial[both])",
        "unit/test_pairs.py::test_a_prompts_means_are_those_of_its_trajectories",
    ),
    Mutation(
        "analysis/verdict.py",
        "trend.level_high < KEPT_LEVEL",
        "trend.level < 0",
        "unit/test_verdict.py::test_the_verdict_goes_by_the_last_phase",
    ),
    Mutation(
        "analysis/selection.py",
        "columns[name][others] = np.nan",
        "pass",
        "unit/test_selection.py::test_after_one_tool_starts_stay_and_the_rest_is_counted",
    ),
    Mutation(
        "step_files/runs.py",
        "step.stale |= went_back is not None",
        "step.stale |= False and went_back is not None",
        "unit/test_selection.py::test_of_a_resumed_run_the_later_directory_counts",
    ),
    Mutation(
        "analysis/pairs.py",
        "(stats.rankdata(sizes) - zeros)",
        "stats.rankdata(sizes)",
        "unit/test_pairs.py::test_ties_and_zeros_have_the_p_of_all_signs",
    ),
    Mutation(
        "analysis/compare.py",
        "- c / c.mean() + d / d.mean()",
        "",
        "unit/test_compare.py::test_the_paired_interval_is_that_of_leaving_prompts_out",
    ),
    Mutation(
        "recorder/call_entropies.py",
        "while ancestor not in starts and",
        "while False and",
        "unit/test_metrics.py::test_the_rise_is_that_of_the_analysis",
    ),
    Mutation(
        "analysis/verdict.py",
        "<= test.high or test.p >= SIGNIFICANT:",
        "<= test.high:",
        "unit/test_pairs.py::test_no_answer_is_given_that_the_test_beside_it_denies",
    ),
    Mutation(
        "analysis/pairs.py",
        "map(float, stats.ttest_1samp(changes, 0).confidence_interval(0.95))",
        "map(float, stats.bootstrap((changes,), np.mean, n_resamples=200).confidence_interval)",
        "unit/test_pairs.py::test_few_prompts_without_a_true_effect_are_seldom_called_one",
    ),
    # Training never sees the recorder.
    Mutation(
        "recorder/guard.py",
        "return isinstance(error, Exception) or",
        "return isinstance(error, ValueError) or",
        "faults/test_faults_recorder.py::test_every_function_that_raises_costs_records_at_most",
    ),
    # Requests that come and go.
    Mutation(
        "live/mark.py",
        "return key if hmac.compare_digest(code, _code(token, key)) else None",
        "return key",
        "unit/test_live.py::test_another_jobs_mark_is_no_mark",
    ),
    Mutation(
        "live/messages.py",
        "opened(token, frame, PERSON) if len(frame) <= MAX_FRAME else None",
        "opened(token, frame, PERSON)",
        "unit/test_live.py::test_a_message_that_is_too_long_is_refused_unparsed",
    ),
    Mutation(
        "live/messages.py",
        'PERSON = b"arpo-message"',
        'PERSON = b"arpo-mark"',
        "unit/test_live.py::test_a_marks_code_signs_no_message",
    ),
    Mutation(
        "live/values.py",
        "if len(waiting) >= self.max_keys:",
        "if False:",
        "unit/test_live.py::test_keys_and_positions_are_bounded_and_counted",
    ),
    Mutation(
        "live/job.py",
        "token: bytes = field(repr=False)",
        "token: bytes",
        "unit/test_live.py::test_the_token_is_in_no_representation",
    ),
    Mutation(
        "live/plugin.py",
        'if not (os.environ.get("ARPO_ENTROPY_JOB") and os.environ.get("ARPO_ENTROPY_COLLECTOR")):',
        "if False:",
        "unit/test_live_plugin.py::test_outside_of_a_job_nothing_else_is_imported",
    ),
    Mutation(
        "live/plugin.py",
        "    if is_ours(original):\n        return\n",
        "",
        "unit/test_live_plugin.py::test_a_worker_starts_recording_once_its_engine_is_set_up",
    ),
    Mutation(
        "live/redact.py",
        " if k != MARK",
        "",
        "unit/test_live_plugin.py::test_marks_are_kept_and_not_shown",
    ),
    Mutation(
        "live/steps.py",
        "version + (not trajectory.validate)",
        "version",
        "unit/test_live_steps.py::test_step_is_the_policys_where_the_trainer_gives_none",
    ),
    Mutation(
        "commands/check.py",
        "if age > SILENT_S:",
        "if False:",
        "unit/test_check.py::test_what_is_wrong_is_named_and_is_the_exit_status",
    ),
    Mutation(
        "live/serve/known.py",
        "return None if found is None or found.was_alike else found.nodes[0]",
        "return None if found is None else found.nodes[-1]",
        "unit/test_served_lineage.py::test_an_identifier_that_was_issued_twice_is_none",
    ),
    Mutation(
        "live/serve/lineage.py",
        "return parent if parent.calls == conversation.calls else None",
        "return parent",
        "unit/test_served_lineage.py::test_changed_calls_contradict_their_identifiers",
    ),
    Mutation(
        "live/serve/lineage.py",
        "parent.turns in (None, conversation.turns - 1)",
        "True",
        "unit/test_served_lineage.py::test_an_edited_later_reply_does_not_link_to_an_earlier_one",
    ),
    Mutation(
        "live/serve/lineage.py",
        "return parent.reply not in (None, conversation.last)",
        "return False",
        "unit/test_served_lineage.py::test_a_lengthened_reply_contradicts_its_tokens",
    ),
    Mutation(
        "live/serve/lineage.py",
        "if not found.was_alike:",
        "if len(found.nodes) == 1:",
        "unit/test_served_lineage.py::test_what_was_alike_stays_so_when_one_is_forgotten",
    ),
    Mutation(
        "live/serve/files.py",
        "if not (row.is_first and row.trajectory.is_start) and parent_idx is None:",
        "if False:",
        "unit/test_served_files.py::test_the_rest_of_a_trajectory_in_another_step_is_no_start",
    ),
    Mutation(
        "live/serve/files.py",
        "if self._has_versions:\n            return None",
        "if False:\n            return None",
        "unit/test_served_files.py::test_a_reply_whose_version_is_not_known_is_in_no_versions_step",
    ),
    Mutation(
        "live/serve/seam.py",
        "if name not in sys.modules and not _has_file(name):",
        "if False:",
        "unit/test_vllm_methods.py::test_a_version_without_them_is_refused_in_one_line",
    ),
    Mutation(
        "live/serve/front.py",
        "original(engine, prompt, params, request_id, *args, **kwargs), turn.see, turn.end",
        "original(engine, prompt, params, request_id), turn.see, turn.end",
        "unit/test_vllm_methods.py::test_all_that_a_caller_says_reaches_vllm",
    ),
    Mutation(
        "step_files/memory.py",
        "self.waits, self.unwritten = False, 0",
        "self.waits = False",
        "unit/test_write.py::test_records_that_are_in_no_file_are_counted",
    ),
    Mutation(
        "taps/resident_v1.py",
        "elif not self._is_chunk(row, request_id):",
        "else:",
        "torch/test_resident_tap.py::test_v1_chunks_of_a_prefill_are_left_out",
    ),
    Mutation(
        "taps/resident_v1.py",
        "self._keys.pop(request.req_id, None)",
        "pass",
        "torch/test_resident_tap.py::test_v1_an_id_given_again_takes_the_new_requests_mark",
    ),
    Mutation(
        "taps/resident.py",
        "if self._index is None or rows != self._rows:",
        "if self._index is None:",
        "torch/test_resident_tap.py::test_v1_a_request_that_moves_is_read_at_its_new_row",
    ),
    Mutation(
        "taps/resident_v1.py",
        "all_at_one &= at_one",
        "pass",
        "torch/test_resident_tap.py::test_v1_temperature_is_the_rows_and_greedy_counts_as_one",
    ),
    Mutation(
        "taps/runner_v2.py",
        "    positions[seq_lens < req_states.prefill_len.np[indices]] = -1\n",
        "",
        "torch/test_resident_tap.py::test_v2_a_chunk_of_what_is_prefilled_again_replaces_no_entropy",
    ),
    Mutation(
        "taps/resident_v2.py",
        "elif position >= 0:",
        "else:",
        "torch/test_resident_tap.py::test_v2_chunks_are_left_out_and_windows_end",
    ),
    Mutation(
        "taps/resident_v2.py",
        "            self._forget_removed()\n            return",
        "            self._requests.clear()\n            return",
        "torch/test_resident_tap.py::test_v2_a_rank_records_the_rows_that_it_is_given",
    ),
    # Where the loop branched, and what it went by.
    Mutation(
        "analysis/branching.py",
        "keys = trajectory[places] * span + rounds[ahead[places]]",
        "keys = trajectory[places] * span + rounds[places]",
        "unit/test_branching.py::test_places_and_branches_are_those_of_the_loops_books",
    ),
    Mutation(
        "analysis/branching.py",
        "np.clip(1 - threshold / factor + weight",
        "np.clip(1 - threshold + weight",
        "unit/test_branching.py::test_aepos_probability_is_the_share_of_draws_that_branch",
    ),
    Mutation(
        "recorder/logprobs_entropy.py",
        "range(min(len(tokens), READ_TOKENS))",
        "range(len(tokens))",
        "unit/test_branching.py::test_the_loops_number_is_of_all_alternatives_of_the_first_20_tokens",
    ),
    # Figures go where they are told to, and a watch tells the first steps from the last.
    Mutation(
        "figures/style.py",
        "    return axes is _given.get()",
        "    return False",
        "unit/test_api.py::test_a_figure_of_one_panel_goes_into_given_axes",
    ),
    Mutation(
        "analysis/watched.py",
        "if row >= first.stop and after > 0",
        "if after > 0",
        "unit/test_watched.py::test_a_line_has_ratio_and_level_against_the_first_steps",
    ),
    # The tool loop's engine, and other people's dumps.
    Mutation(
        "rollout/sampling.py",
        "if len(ids) <= MAX_V2_IDS or not _has_runner_v2(engine):",
        "if True:",
        "unit/test_vocabulary_mask.py::test_runner_v2_gets_a_bias_for_a_long_vocabulary",
    ),
    Mutation(
        "rescore/segments.py",
        "return names.pop() if len(names) == 1 else None",
        "return sorted(map(str, names))[0]",
        "unit/test_segments.py::test_a_tool_call_in_json_names_the_tool",
    ),
    Mutation(
        "rescore/packed.py",
        "weights_only=True",
        "weights_only=False",
        "torch/test_torch_dumps.py::test_what_torch_saved_otherwise_is_refused",
    ),
    # The page has the numbers of stats, joins what fits once, and answers nobody else.
    Mutation(
        "report/histograms.py",
        "place = 1 + (BINS - 1)",
        "place = 2 + (BINS - 1)",
        "unit/test_page_data.py::test_histograms_count_every_record_in_its_bin",
    ),
    Mutation(
        "report/join.py",
        "if len(candidates) > 1 or number in fits:",
        "if number in fits:",
        "unit/test_join.py::test_what_fits_twice_or_not_at_all_is_counted_and_not_joined",
    ),
    Mutation(
        "report/join.py",
        "len(numbers) == 1 and lines_of[numbers[0]] == 1 and",
        "len(numbers) == 1 and",
        "unit/test_join.py::test_a_cut_line_that_may_be_anothers_is_not_joined",
    ),
    Mutation(
        "report/branches.py",
        "others = (total[of] - score[number]) / (count[of] - 1)",
        "others = total[of] / count[of]",
        "unit/test_join.py::test_branches_are_compared_with_their_prompts_others",
    ),
    Mutation(
        "report/serve.py",
        'if host not in (f"{HOST}:{self.port}", f"localhost:{self.port}"):',
        "if not host:",
        "unit/test_serve.py::test_another_host_name_gets_nothing",
    ),
    Mutation(
        "report/markup.py",
        r'.replace("<", r"\u003c")',
        "",
        "unit/test_report.py::test_untrusted_text_stays_text",
    ),
    Mutation(
        "report/assets/js/02-statistics.js",
        "const c1 = a * b - square * (sumAB - n * a * b);",
        "const c1 = a * b;",
        "unit/test_browser_clicks.py::test_the_address_keeps_the_choice",
    ),
]


def passes(tree: Path, mutation: Mutation) -> tuple[bool, str]:
    """Whether the entry's test passes in `tree`, and what pytest said."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{mutation.test}"]
    try:
        done = subprocess.run(
            [*command, "-m", "faults or not faults"],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S[mutation.level],
        )
    except subprocess.TimeoutExpired:
        return False, "time is up"
    if done.returncode not in (0, 1):  # 4: there is no test of this name
        raise SystemExit(f"{mutation.test}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 0, done.stdout


def defect(tree: Path, mutation: Mutation) -> str | None:
    """Why the entry does not hold, or None."""
    path = tree / PACKAGE / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        return f"the edit does not apply: its text stands {text.count(mutation.old)} times in {mutation.file}"
    whole, said = passes(tree, mutation)
    if not whole:
        return f"fails on the unchanged code\n{said}"
    if " passed" not in said:
        return f"was not run\n{said}"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return "passes on the broken code" if passes(tree, mutation)[0] else None
    finally:
        path.write_text(text, encoding="utf-8")


def main(words: list[str]) -> int:
    chosen = [m for m in MUTATIONS if not words or any(word in m.file or word in m.test for word in words)]
    held = defects = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "shared", "build", "dist")
        )
        for mutation in chosen:
            if missing := [name for name in NEEDED[mutation.level] if find_spec(name) is None]:
                print(f"NOT RUN: {mutation.test}: {', '.join(missing)} is not installed", flush=True)
                continue
            reason = defect(tree, mutation)
            held, defects = held + (reason is None), defects + (reason is not None)
            print(f"{'fails as it should' if reason is None else reason}: {mutation.test}", flush=True)
    print(f"{held} of {len(chosen)} edits make their test fail, {defects} do not")
    return 1 if defects or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
