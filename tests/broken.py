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
from pathlib import Path

import arpo_entropy_recorder

PACKAGE = Path(arpo_entropy_recorder.__file__).parent
# The loop that is recorded is no part of the recorder, nor are the words of the command line.
NOT_THE_RECORDER = ("rollout/", "schema.py", "commands/")
# The boundary itself: what the rollout and the engine call. Each only hands on to what is caught.
BOUNDARY = {
    "EntropyRecorderMixin.generate_sequences",
    "EntropyRecorder.recording",
    "EntropyRecorder.add_metrics",
    "EntropyRecorder._recorded.<locals>.generate",
    "EntropyRecorder._recorded.<locals>.attempt",
    "CheapMasks.sparing",
    "_cheapening.<locals>.build",
    "Boundary.run",
    "is_failure",
    "unnoticed",
    "Tap.guard",
    "RunnerV0Tap._before_sampler",
    "RunnerV1Tap.attach.<locals>.tapped.<locals>.sample",
    "RunnerV2Tap.attach.<locals>.tapped_add_request.<locals>.add_request",
    "RunnerV2Tap.attach.<locals>.tapped_sample.<locals>.sample",
    "RunnerV2Tap.attach.<locals>.tapped_runner_sample.<locals>.sample",
    "RunnerV2Tap.attach.<locals>.tapped_apply_min_p.<locals>.apply_min_p",
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
    path = code.co_filename
    if not path.startswith(f"{PACKAGE}/") or code.co_qualname in BOUNDARY:
        return False
    return not path[len(str(PACKAGE)) + 1 :].startswith(NOT_THE_RECORDER)


class Tracer:
    """Counts the recorder's lines as they run, or raises `error` at one of them.

    `events` counts the lines that ran in each function, and `in_engine` are those that ran in a step of the
    engine. `at` is (function, which of its lines that ran, from 0).
    """

    def __init__(self, at=None, error=Broken):
        self.at, self.error = at, error
        self.events = Counter()
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
        path = info.name.removeprefix("arpo_entropy_recorder.").replace(".", "/")
        if info.ispkg or path in ("verl", "__main__") or f"{path}.py".startswith(NOT_THE_RECORDER):
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
