#!/usr/bin/env bash
# What people without torch install: the wheel, then the sdist, in a new environment of every Python at hand, and in it
# the commands that read a run. PYTHONS names other interpreters.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=$PWD/tests/data/real_run/entropies

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
pip=(-m pip install -qq --disable-pip-version-check --no-input)
python3 -m venv "$made/build"
"$made/build/bin/python" "${pip[@]}" build
# As in make_env.sh: the package's metadata is written beside its sources.
exec 8<requirements
if command -v flock >/dev/null; then flock 8; fi
"$made/build/bin/python" -m build -o "$made" . >"$made/log" 2>&1 || { cat "$made/log" >&2; exit 1; }
exec 8<&-

for python in ${PYTHONS:-python3.10 python3.11 python3.12 python3.13}; do
  version=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
    { echo "NOT RUN: $python is not here"; continue; }
  rm -rf "$made/env"
  "$python" -m venv "$made/env"
  for package in "$made"/*.whl "$made"/*.tar.gz; do
    rm -rf "$made/out" && mkdir "$made/out"
    "$made/env/bin/python" -m pip uninstall -qq -y arpo-entropy-recorder 2>"$made/log"
    "$made/env/bin/python" "${pip[@]}" "$package"
    (
      cd "$made/out"
      ../env/bin/arpo-entropy --version >version
      ../env/bin/arpo-entropy stats "$run" >stats
      ../env/bin/arpo-entropy plot "$run" -o rounds.png >/dev/null
      ../env/bin/arpo-entropy report "$run" -o report.html >/dev/null
      ../env/bin/python -c 'import importlib.util as u; assert not u.find_spec("torch")'
    )
    [[ -e $made/first ]] || cp "$made/out/stats" "$made/first"
    cmp "$made/out/stats" "$made/first" # all of them print the same
    echo "passed: Python $version, ${package##*/}: $(<"$made/out/version")"
  done
done
