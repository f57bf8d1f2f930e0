"""What slime saves with torch, against the same samples as JSON lines; nothing in it may run."""

import json

import pytest
import torch

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.dumps import find_dumps, read_dumps

SAMPLE = {
    "prompt": "q",
    "tokens": [1, 2, 3, 4, 5],
    "response": "a b",
    "response_length": 3,
    "loss_mask": [1, 0, 1],
    "reward": 1.0,
    "status": "completed",
    "metadata": {"round_number": 2},
    "rollout_log_probs": None,
}


def test_saved_samples_read_as_json_lines(tmp_path):
    samples = [SAMPLE, SAMPLE | {"loss_mask": None}]
    (tmp_path / "7.jsonl").write_text("\n".join(map(json.dumps, samples)))
    saved = tmp_path / "saved"
    saved.mkdir()
    torch.save({"rollout_id": 7, "samples": samples}, saved / "rollout_7.pt")
    (plain,), (found,) = (read_dumps(*find_dumps(directory)) for directory in (tmp_path, saved))
    assert found.global_step == plain.global_step == 7
    for line, expected in zip(found.lines, plain.lines, strict=True):
        assert (line.prompt, line.response, line.mask) == (expected.prompt, expected.response, expected.mask)
    assert (found.lines[0].prompt, found.lines[0].response) == ([1, 2], [3, 4, 5])


class Runs:
    def __reduce__(self):
        return print, ("it ran",)


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (
            {"rollout_id": 1, "samples": [SAMPLE | {"metadata": Runs()}]},
            "not plain data that torch loads safely",
        ),
        ({"rollout_id": 1, "samples": torch.zeros(2)}, "no list 'samples' of dicts in it"),
        ([SAMPLE], "no list 'samples' of dicts in it"),
        ({"samples": [SAMPLE]}, "'step': not a step number"),
    ],
)
def test_what_torch_saved_otherwise_is_refused(tmp_path, capsys, saved, said):
    file = tmp_path / "last.pt"
    torch.save(saved, file)
    with pytest.raises(UserError, match=said) as error:
        read_dumps(file)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
