"""Changes to modules of other packages, made as soon as these are imported."""

import importlib.abc
import importlib.machinery
import sys


def mend_when_imported(mended):
    """mended: for the name of a module the function that is given the module once it has run."""
    sys.meta_path.insert(0, Mender(mended))


class Mender(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and mends them once they are run."""

    def __init__(self, mended):
        self.mended = mended

    def find_spec(self, name, path=None, target=None):
        if name not in self.mended:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.mended[name](module)

        spec.loader.exec_module = exec_module
        return spec
