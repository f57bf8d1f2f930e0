"""What sdist and wheel hold: the tree; the package, its assets and the import paths that are in users' hands."""

import os
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "arpo_entropy_recorder"
# Imported without torch; verl.py and taps/worker.py are found, but need torch and verl to be imported.
PATHS = """
import sys
import tarfile
from importlib.util import find_spec
import arpo_entropy_recorder
assert "arpo_entropy_recorder.mixin" not in sys.modules
from arpo_entropy_recorder import record_entropy
from arpo_entropy_recorder.mixin import record_entropy as by_path
assert record_entropy is by_path
assert find_spec("arpo_entropy_recorder.verl") and find_spec("arpo_entropy_recorder.taps.worker")
print(arpo_entropy_recorder.__file__)
"""


FILES = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "MANIFEST.in", "pyproject.toml", "README.md",
         "README.zh.md", "setup.py"}  # fmt: skip
FOLDERS = {"arpo_entropy_recorder", "benchmarks", "docs", "patches", "requirements", "scripts", "tests"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel made from it, folder that the wheel is installed in), from a copy of the tree without network."""
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "none"
    if not version.partition(".")[0].isdecimal() or int(version.partition(".")[0]) < 77:
        pytest.skip(f"NOT RUN: no wheel is built, setuptools is {version}: pip install 'setuptools>=77'")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in FILES | FOLDERS:
        (source / name).symlink_to(ROOT / name)
    make = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", make], cwd=source, check=True, capture_output=True, timeout=120)
    (sdist,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, sdist]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "target", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return sdist, wheel, folder / "target"


def test_the_sdist_is_the_tree(built):
    with tarfile.open(built[0]) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    names = {name for name in files if ".egg-info/" not in name} - {"PKG-INFO", "setup.cfg"}
    tree = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == FILES | tree


def test_wheel_holds_the_package_and_its_assets(built):
    _, wheel, _ = built
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {".py", ".css", ".js", ".html"}
    assert names == {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*") if p.suffix in kept}


def test_paths_in_users_hands_are_in_the_wheel(built):
    *_, target = built
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", PATHS], cwd=target, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent.parent == target


def test_the_wheel_brings_the_command(built):
    _, wheel, target = built
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [target / "bin" / "arpo-entropy", "--version"],
        cwd=target,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"arpo-entropy {wheel.name.split('-')[1]}\n", done
