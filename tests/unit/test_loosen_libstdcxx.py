"""scripts/loosen_libstdcxx.py on shared objects built here: a library that lost a version, and its user."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "loosen_libstdcxx.py"
MARKER = "_ZSt21ios_base_library_initv"

spec = importlib.util.spec_from_file_location("loosen_libstdcxx", SCRIPT)
loosen_libstdcxx = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loosen_libstdcxx)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build the shared objects with")


def build(folder, more=""):
    """user.so, which wants MARKER (and the code `more`) of a newer libold.so than the one left beside it."""
    (folder / "old.c").write_text("int old(void) { return 7; }\n")
    (folder / "new.c").write_text(
        f"int old(void) {{ return 7; }}\nint newer(void) {{ return 8; }}\nvoid {MARKER}(void) {{}}\n"
    )
    (folder / "old.map").write_text("GLIBCXX_3.4.30 { old; };\n")
    (folder / "new.map").write_text(f"GLIBCXX_3.4.30 {{ old; }};\nGLIBCXX_3.4.32 {{ {MARKER}; newer; }};\n")
    (folder / "user.c").write_text(
        f'__asm__(".globl {MARKER}");\nint old(void);\nint newer(void);\nint use(void) {{ return old(){more}; }}\n'
    )

    def gcc(*words):
        subprocess.run(["gcc", "-shared", "-fPIC", *words], cwd=folder, check=True, capture_output=True)

    for version in ("new", "old"):
        if version == "old":
            gcc("user.c", "-o", "user.so", "-L.", "-lold", "-Wl,-rpath,$ORIGIN")
        gcc(f"{version}.c", "-o", "libold.so", "-Wl,-soname,libold.so", f"-Wl,--version-script={version}.map")
    return folder / "user.so"


def load(path):
    code = f"import ctypes; print(ctypes.CDLL({str(path)!r}).use())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_object_that_wants_only_the_marker_loads_afterwards(tmp_path):
    user = build(tmp_path)
    assert "GLIBCXX_3.4.32' not found" in load(user).stderr
    stock = user.read_bytes()
    loosened = loosen_libstdcxx.loosen(stock)
    assert sum(a != b for a, b in zip(stock, loosened, strict=True)) == 1
    user.write_bytes(loosened)
    assert load(user).stdout == "7\n"
    assert loosen_libstdcxx.loosen(loosened) == loosened


def test_object_that_wants_more_of_that_version_is_refused(tmp_path):
    user = build(tmp_path, more=" + newer()")
    with pytest.raises(ValueError, match="newer"):
        loosen_libstdcxx.loosen(user.read_bytes())


def test_object_that_wants_nothing_of_that_version_stays_as_it_is(tmp_path):
    build(tmp_path)
    library = (tmp_path / "libold.so").read_bytes()
    assert loosen_libstdcxx.loosen(library) == library


def test_command_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "text.so").write_text("not an object" * 10)
    for name, words in {"text.so": "not a little-endian 64-bit ELF file", "none.so": "not found"}.items():
        result = subprocess.run(
            [sys.executable, SCRIPT, name], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert name in result.stderr
        assert words in result.stderr
