#!/usr/bin/env bash
# Lays another verl beside the one in .venv-verl, for the tests: scripts/lay_verl.sh 0.8.0 0.7.1 0.6.1
# Each is a folder .venv-verl/verl-VERSION to put on PYTHONPATH: verl is Python alone, 1 to 2 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for version in "$@"; do
  place=.venv-verl/verl-$version
  [ -d "$place/verl" ] && continue
  .venv-verl/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps --target "$place.tmp" \
    "verl==$version" || { echo "lay_verl: pip could not install verl $version; its words are above" >&2; exit 2; }
  mv "$place.tmp" "$place"
done
