"""What a user sets, by config or environment, and what is said of a value that is none."""

from pathlib import Path

import pytest

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.recorder.settings import Settings


def test_nothing_set_is_the_defaults():
    assert Settings.read({}, {}) == Settings()
    assert (
        Settings.read(dict.fromkeys(("entropy_recorder", "entropy_window", "record_tokens")), {})
        == Settings()
    )


def test_the_environment_wins_over_the_config():
    config = {"entropy_save_dir": "a", "entropy_window": 2, "record_tokens": True}
    environ = {"ARPO_ENTROPY_DIR": "b", "ARPO_ENTROPY_WINDOW": "20", "ARPO_ENTROPY_TOKENS": "off"}
    read = Settings.read(config, environ)
    assert (read.save_dir, read.window, read.record_tokens) == (Path("b"), 20, False)


def test_prompts_are_named_unless_that_is_off():
    assert Settings.read({}, {}).prompt_id
    assert not Settings.read({"entropy_prompt_id": "off"}, {}).prompt_id
    assert not Settings.read({}, {"ARPO_ENTROPY_PROMPT_ID": "off"}).prompt_id


@pytest.mark.parametrize("config", [{"entropy_recorder": "off"}, {"entropy_recorder": False}])
def test_off_is_off(config):
    assert not Settings.read(config, {}).enabled
    assert not Settings.read({}, {"ARPO_ENTROPY_DISABLE": "1"}).enabled


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"entropy_window": "abc"}, "entropy_window"),
        ({"entropy_window": 0}, "entropy_window"),
        ({"entropy_window": 1.5}, "entropy_window"),
        ({"entropy_window": 10_001}, "entropy_window"),
        ({"entropy_save_dir": "~nosuchuser/x"}, "entropy_save_dir=~nosuchuser/x: there is no home directory"),
        ({"record_tokens": "perhaps"}, "record_tokens"),
        ({"entropy_recorder": "perhaps"}, "entropy_recorder"),
        ({"entropy_pending_steps": -1}, "entropy_pending_steps"),
    ],
)
def test_a_value_that_is_none_is_one_line_that_names_the_key(config, named):
    with pytest.raises(UserError, match=named) as error:
        Settings.read(config, {})
    assert "\n" not in str(error.value)


def test_a_bad_setting_is_said_before_the_engine_is_built():
    class Rollout:
        def __init__(self, config):
            raise AssertionError("the engine was started first")

    with pytest.raises(UserError, match="entropy_window"):
        record_entropy(Rollout)(config={"entropy_window": "abc"})


def test_settings_that_are_handed_over_are_not_read(monkeypatch):
    monkeypatch.setenv("ARPO_ENTROPY_WINDOW", "abc")
    off = Settings(enabled=False)

    class Rollout:
        def __init__(self, config):
            self.config = config

    recording = record_entropy(Rollout, off)
    for cls in (recording, record_entropy(record_entropy(Rollout), off)):
        assert cls(config={"entropy_window": "many"}).arpo_entropy_recorder is None
    assert record_entropy(recording) is recording


def test_what_is_off_has_no_other_setting_in_the_way():
    assert not Settings.read({"entropy_recorder": "off", "entropy_window": "many"}, {}).enabled
    assert not Settings.read({}, {"ARPO_ENTROPY_DISABLE": "1", "ARPO_ENTROPY_WINDOW": "-1"}).enabled
