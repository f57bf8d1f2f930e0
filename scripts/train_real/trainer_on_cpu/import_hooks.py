"""Changes to modules of other packages, made as soon as these are imported."""

import importlib.abc
import importlib.machinery
import sys


def patch_when_imported(patches):
    """patches: for the name of a module the function that is given the module once it has run."""
    sys.meta_path.insert(0, PatchingFinder(patches))


class PatchingFinder(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and patches them once they are run."""

    def __init__(self, patches):
        self.patches = patches

    def find_spec(self, name, path=None, target=None):
        if name not in self.patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.patches[name](module)

        spec.loader.exec_module = exec_module
        return spec
