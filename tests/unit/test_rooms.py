"""Which room may import which: arrows run down only, so that a reader of one room needs only those below it."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

PACKAGE = "arpo_entropy_recorder"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE
# From top to bottom. A room imports from itself and from the rooms below it.
ORDER = [
    "__main__", "cli", "commands", "api", "report", "figures", "rescore", "rollout", "verl", "live", "__init__",
    "mixin", "recorder", "taps", "ops", "analysis", "step_files", "atomic", "errors",
]  # fmt: skip
RECORDING = {"verl", "live", "mixin", "recorder", "taps", "ops"}
READING = {"analysis", "figures", "report", "api"}
# What a rule names below the order: (rooms, rooms that these do not know).
STRANGERS = {
    "the recorder knows no analysis": (RECORDING, {"analysis", *READING, "rescore", "rollout"}),
    "reading and drawing know no recorder": (READING, RECORDING | {"rollout"}),
    "rescoring takes the entropy from ops and nothing else of the recorder": (
        {"rescore"},
        RECORDING - {"ops"},
    ),
    "the rollout knows no analysis": ({"rollout"}, READING | {"rescore"}),
    "the format knows neither": (
        {"step_files", "atomic", "errors"},
        RECORDING | READING | {"rescore", "rollout"},
    ),
    "the library knows no command": (set(ORDER[3:]), {"commands", "cli", "__main__"}),
}

OPTION = re.compile(r"(?<![\w-])--[a-z]")


def modules():
    """{name below the package: path}; a folder's __init__ has the folder's name, the package's own is __init__."""
    paths = {path.relative_to(ROOT).with_suffix("").parts: path for path in ROOT.rglob("*.py")}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts): path
        for parts, path in paths.items()
    }


MODULES = modules()


def imports_of(tree, in_functions):
    """The import statements of a module, without those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports_of(ast.Module(node.orelse, []), in_functions)
        elif in_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports_of(node, in_functions)


@cache
def tree(name):
    """The module `name`, parsed."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imported(name, in_functions=True):
    """(modules of this package, other top-level packages) that the module `name` imports."""
    own, other = set(), set()
    for node in imports_of(tree(name), in_functions):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports are not understood by this test"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            full = [alias.name for alias in node.names]
        for path in full:
            package, _, inner = path.partition(".")
            if package != PACKAGE:
                other.add(package)
            elif inner in MODULES:
                own.add(inner)
            else:  # a name of a module, not a module
                own.add(inner.rpartition(".")[0] or "__init__")
    return own & MODULES.keys(), other - sys.stdlib_module_names


def room(name):
    return name.partition(".")[0]


def loaded(name):
    """The packages of others that are loaded where the module `name` is imported."""
    seen, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        parents = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
        waiting += [*imported(module, in_functions=False)[0], *parents]
    return set().union(*(imported(module, in_functions=False)[1] for module in seen))


def circles():
    """Groups of modules that reach each other, imports inside of functions included."""
    reach = {name: set(imported(name)[0]) - {name} for name in MODULES}
    for through in MODULES:
        for name in MODULES:
            if through in reach[name]:
                reach[name] |= reach[through]
    groups = {
        frozenset({name} | {other for other in reach[name] if name in reach[other]})
        for name in MODULES
        if name in reach[name]
    }
    return {", ".join(sorted(group)) for group in groups}


def arrows():
    return [(name, target) for name in sorted(MODULES) for target in sorted(imported(name)[0])]


def test_every_module_is_in_a_room():
    assert {room(name) for name in MODULES} == set(ORDER)
    assert len(arrows()) > 100, "hardly any import is seen"
    assert "numpy" in loaded("step_files.read")


def test_arrows_run_down_only():
    place = {name: height for height, name in enumerate(ORDER)}
    up = [f"{name} -> {target}" for name, target in arrows() if place[room(name)] > place[room(target)]]
    assert up == []


def test_rooms_do_not_know_their_strangers():
    broken = {
        f"{name} -> {target}": rule
        for rule, (rooms, strangers) in STRANGERS.items()
        for name, target in arrows()
        if room(name) in rooms and room(target) in strangers - {room(name)}
    }
    assert broken == {}


def test_no_modules_import_each_other():
    assert circles() == set()


def test_at_most_eight_modules_at_the_top():
    assert len(list(ROOT.glob("*.py"))) <= 8


def test_reading_and_drawing_load_no_torch():
    names = [n for n in MODULES if room(n) in {"cli", "commands", "step_files", "atomic", "errors", *READING}]
    heavy = {name: loaded(name) & {"torch", "vllm", "transformers", "triton", "pyarrow"} for name in names}
    assert {name: packages for name, packages in heavy.items() if packages} == {}


def test_live_recording_loads_no_engine_before_it_is_used():
    names = [name for name in MODULES if room(name) == "live"]
    heavy = {name: loaded(name) & {"torch", "vllm", "zmq", "ray", "verl"} for name in names}
    assert {name: packages for name, packages in heavy.items() if packages} == {}


def test_what_a_help_text_needs_loads_no_matplotlib():
    light = ["cli", "figures.catalogue"]
    found = {
        f"{name} loads {package}" for name in light for package in loaded(name) & {"matplotlib", "scipy"}
    }
    assert found == set()


def test_no_option_is_named_outside_the_commands():
    named = {
        name
        for name in MODULES
        if room(name) not in {"commands", "cli", "__main__"}
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OPTION.search(node.value)
    }
    assert named == set()
