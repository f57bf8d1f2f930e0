"""Runs as a process of its own: takes limits as arguments and code on stdin, gives up what it can, runs the code.

Handed to the interpreter as text (`-c`), so it imports nothing of this package.
"""

import ast
import os
import resource
import sys
import traceback

NOBODY = 65534


def confine(cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Limits that the operating system keeps; none can be raised again."""
    if os.geteuid() == 0:  # the kernel does not hold root to its process limit
        # The user nobody cannot reach an interpreter below /root by its path, but can by an open directory.
        moved = {
            path: f"/proc/self/fd/{os.open(path, os.O_PATH)}" for path in sys.path if os.path.isdir(path)
        }
        sys.path[:] = ["", *moved.values()]
        # Packages that are loaded already look for their modules in their own __path__.
        for module in list(sys.modules.values()):
            for folder, handle in moved.items():
                if hasattr(module, "__path__"):
                    module.__path__ = [
                        path.replace(f"{folder}/", f"{handle}/", 1) for path in module.__path__
                    ]
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: 0,  # neither processes nor threads
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))


def run(code: str) -> None:
    """Execute `code`, and print the value of its last expression unless that is None, as a notebook does."""
    tree = ast.parse(code, "<python>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names = {"__name__": "__main__"}
    exec(compile(tree, "<python>", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<python>", "eval"), names)
        if value is not None:
            print(value)


if __name__ == "__main__":
    source = sys.stdin.read()
    confine(*map(int, sys.argv[1:]))
    try:
        run(source)
        sys.stdout.flush()
    except Exception as error:
        sys.exit("".join(traceback.format_exception_only(type(error), error)).strip())
