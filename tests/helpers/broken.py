"""Ways to break the recorder on purpose: a function that always raises, and a line of code that raises once.

A function is broken by its code object, so that every name that it was imported under breaks with it. A line is
broken by a trace function that raises: Python then raises in that very line, also in closures and generators.
"""

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import arpo_entropy_recorder
from arpo_entropy_recorder import atomic, errors, ops, recorder, step_files, taps
from arpo_entropy_recorder.mixin import EntropyRecorderMixin
from arpo_entropy_recorder.recorder import guard, v0_speedups
from arpo_entropy_recorder.recorder.batch_rollout import BatchRollout
from arpo_entropy_recorder.recorder.session import EntropyRecorder
from arpo_entropy_recorder.step_files import merge, names, run_log, values, write
from arpo_entropy_recorder.taps.engine import EngineTap
from arpo_entropy_recorder.taps.patching import MethodPatches
from arpo_entropy_recorder.taps.runner_v0 import RunnerV0Tap
from arpo_entropy_recorder.taps.runner_v1 import RunnerV1Tap
from arpo_entropy_recorder.taps.runner_v2 import RunnerV2Tap
from arpo_entropy_recorder.taps.tap import Tap
from arpo_entropy_recorder.taps.worker import call_tap

PACKAGE = Path(arpo_entropy_recorder.__file__).parent
# What runs inside a training.
RECORDER = (recorder, taps, ops, step_files, atomic, errors)


def file_of(module):
    """Where a module's code is, or a package's: a path that the paths of its code objects start with."""
    path = Path(module.__file__)
    return f"{path.parent}/" if path.name == "__init__.py" else str(path)


def code_of(function, *inner):
    """The code object of a function, or of a function that is defined inside it: `code_of(f, "g", "h")`."""
    code = inspect.unwrap(function).__code__
    for name in inner:
        (code,) = (c for c in code.co_consts if inspect.iscode(c) and c.co_name == name)
    return code


# The boundary itself: what the rollout and the engine call. Each only hands on to what is caught.
BOUNDARY = {
    code_of(EntropyRecorderMixin.generate_sequences),
    code_of(EntropyRecorder.recording),
    code_of(EntropyRecorder.add_metrics),
    code_of(BatchRollout.recording),
    code_of(BatchRollout._recorded, "generate"),
    code_of(BatchRollout._attempt),
    code_of(v0_speedups.MaskSpeedup.active),
    code_of(v0_speedups._without_repeats, "build"),
    code_of(guard.ErrorBoundary.run),
    code_of(guard.is_failure),
    code_of(guard.swallow_errors),
    code_of(Tap.guard),
    code_of(RunnerV0Tap._before_sampler),
    code_of(RunnerV1Tap._before_sample),
    code_of(RunnerV2Tap._before_add_request),
    code_of(RunnerV2Tap._before_sample),
    code_of(RunnerV2Tap._before_runner_sample),
    code_of(RunnerV2Tap._before_apply_min_p),
    code_of(MethodPatches.call_before, "make", "patched"),
    # Our own loop takes padding off by it, too, and would rightly fail.
    code_of(values.unpadded),
}
# An OSError comes from files, and is waited for in these modules only.
TOUCHES_FILES = (write, merge, run_log, names, atomic)
# Where the way to the wrappers is itself what is broken, they come off when the next call starts.
REMOVES_WRAPPERS = {
    code_of(function)
    for function in (
        MethodPatches.restore,
        EngineTap.close,
        EngineTap._call,
        call_tap,
        Tap.close,
        RunnerV0Tap.detach,
        RunnerV1Tap.detach,
        RunnerV2Tap.detach,
    )
}


class Broken(Exception):
    """Raised on purpose."""


class Panic(BaseException):
    """What a panic in Rust looks like."""


Panic.__name__ = "PanicException"


class BadText(Exception):
    """An error that cannot even be shown."""

    def __str__(self):
        raise Broken


def is_recorder(code):
    """Whether a code object is the recorder's, and not the boundary itself."""
    return is_in(RECORDER, code) and code not in BOUNDARY


def is_in(modules, code):
    """Whether a code object was written in one of `modules` or packages."""
    return _is_file_of(tuple(modules), code.co_filename)


# Asked at each call of a traced run.
@cache
def _is_file_of(modules, filename):
    return filename.startswith(tuple(map(file_of, modules)))


class Tracer:
    """Counts the recorder's lines as they run, or raises `error` at one of them.

    `events` counts the lines that ran in each function, `codes` has the functions' code objects, and `in_engine`
    are those that ran in a step of the engine. `at` is (function, which of its lines that ran, from 0).
    """

    def __init__(self, at=None, error=Broken):
        self.at, self.error = at, error
        self.events = Counter()
        self.codes = {}
        self.in_engine = set()
        self.raised = False

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _called(self, frame, event, _):
        return self._line if is_recorder(frame.f_code) else None

    def _line(self, frame, event, _):
        if event == "line":
            name = name_of(frame.f_code)
            now = (name, self.events[name])
            self.events[name] += 1
            self.codes[name] = frame.f_code
            if self.at is None and self._is_in_engine(frame):
                self.in_engine.add(name)
            if now == self.at:
                self.raised = True
                raise self.error
        return self._line

    @staticmethod
    def _is_in_engine(frame):
        while frame is not None and frame.f_code.co_name != "guard":
            frame = frame.f_back
        return frame is not None


def name_of(code):
    """`writer.StepWriter.add`, for messages and test ids."""
    module = code.co_filename[len(str(PACKAGE)) + 1 :].removesuffix(".py").replace("/", ".")
    return f"{module}.{code.co_qualname}"


def recorder_functions():
    """Every function and method of the package that is the recorder's, by name."""
    found = {}
    for info in pkgutil.walk_packages([str(PACKAGE)], "arpo_entropy_recorder."):
        # These two run something when they are imported.
        if info.ispkg or info.name in ("arpo_entropy_recorder.verl", "arpo_entropy_recorder.__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            continue  # Triton, where there is none
        for owner in [module, *(c for c in vars(module).values() if inspect.isclass(c))]:
            for value in list(vars(owner).values()):
                function = getattr(value, "__func__", getattr(value, "fget", value))
                function = inspect.unwrap(function) if callable(function) else None
                if inspect.isfunction(function) and is_recorder(function.__code__):
                    found[name_of(function.__code__)] = function
    return found


@contextlib.contextmanager
def always_raising(function, error=Broken):
    """`function` raises `error` whenever it is called; yields a list with an entry a call."""
    calls = []
    free = function.__code__.co_freevars
    scope = {"calls": calls, "error": error}
    exec(
        f"def outer({', '.join(free)}):\n"
        "    def broken(*args, __calls=calls, __error=error, **kwargs):\n"
        f"        ({', '.join([*free, ''])})\n"
        "        __calls.append(1)\n"
        "        raise __error\n"
        "    return broken\n",
        scope,
    )
    broken = scope["outer"](*free)
    before = function.__code__, function.__kwdefaults__
    function.__code__, function.__kwdefaults__ = broken.__code__, broken.__kwdefaults__
    try:
        yield calls
    finally:
        function.__code__, function.__kwdefaults__ = before
