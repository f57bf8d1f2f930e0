#!/usr/bin/env bash
# What someone without torch has: a new environment with this package and its extra `test`, and the unit tests in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bare=$(mktemp -d)
trap 'rm -rf "$bare"' EXIT
python=python3
for candidate in ${PYTHON:-python3.11 python3.12 python3.10}; do
  if command -v "$candidate" >/dev/null; then python=$candidate && break; fi
done
"$python" -m venv "$bare"
# As in make_env.sh: the package's metadata is written beside its sources.
exec 8<requirements
if command -v flock >/dev/null; then flock 8; fi
"$bare/bin/python" -m pip install -qq --disable-pip-version-check --no-input -e '.[test]'
exec 8<&-
# Kept bytecode spares the second worker, and each program that the tests start, what the first one compiled; a folder
# of its own spares the deletion of what earlier runs left in /tmp.
unset PYTHONDONTWRITEBYTECODE
OMP_NUM_THREADS=1 "$bare/bin/python" -m pytest -n 2 --basetemp "$bare/tmp" tests/unit "$@"
