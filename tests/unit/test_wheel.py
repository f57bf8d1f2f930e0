"""What is installed from a wheel: the package, the report's assets, and the import paths that are in users' hands."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "arpo_entropy_recorder"
# Imported without torch; verl.py and taps/worker.py are found, but need torch and verl to be imported.
PATHS = """
import sys
from importlib.util import find_spec
import arpo_entropy_recorder
assert "arpo_entropy_recorder.mixin" not in sys.modules
from arpo_entropy_recorder import record_entropy
from arpo_entropy_recorder.mixin import record_entropy as by_path
assert record_entropy is by_path
assert find_spec("arpo_entropy_recorder.verl") and find_spec("arpo_entropy_recorder.taps.worker")
print(arpo_entropy_recorder.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(wheel, folder that it is installed in), built from a copy of the tree without network."""
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "none"
    if not version.partition(".")[0].isdecimal() or int(version.partition(".")[0]) < 77:
        pytest.skip(f"NOT RUN: no wheel is built, setuptools is {version}: pip install 'setuptools>=77'")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "arpo_entropy_recorder"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "target", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return wheel, folder / "target"


def test_wheel_holds_the_package_and_its_assets(installed):
    wheel, _ = installed
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {".py", ".css", ".js", ".html"}
    assert names == {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*") if p.suffix in kept}


def test_paths_in_users_hands_are_in_the_wheel(installed):
    _, target = installed
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", PATHS], cwd=target, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent.parent == target


def test_the_wheel_brings_the_command(installed):
    _, target = installed
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [target / "bin" / "arpo-entropy", "--version"],
        cwd=target,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("arpo-entropy "), done
