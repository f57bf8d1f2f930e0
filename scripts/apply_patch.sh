#!/usr/bin/env bash
# scripts/apply_patch.sh PATH [--check | --revert]
#
# Makes an ARPO or AEPO clone (or a fork of one) record: the same edit as patches/verl_arpo_entropy.patch, found by
# its anchors instead of by its context, so that it also fits trees that have drifted. Needs Python, no git and no
# patch. Exit status 0: done, or already so; 2: one line says why not, and nothing was changed.
set -euo pipefail
for python in python3 python; do
  if command -v "$python" >/dev/null; then
    exec "$python" "$(dirname "${BASH_SOURCE[0]}")/apply_patch.py" "$@"
  fi
done
echo "apply_patch: no python3 on PATH" >&2
exit 2
