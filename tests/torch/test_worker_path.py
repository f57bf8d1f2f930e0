"""vLLM imports the worker extension by the path that users' launch scripts and patched clones name."""

from importlib import import_module


def test_the_worker_extension_keeps_its_path():
    assert import_module("arpo_entropy_recorder.taps.worker").EntropyWorkerExtension
