#!/usr/bin/env bash
# scripts/lay_vllm_0_8_4.sh: lays vLLM 0.8.4, which ARPO pins, into .venv-pinned/vllm-0.8.4, to put on PYTHONPATH.
#
# 0.8.4 has no build for the CPU. Its Python runs with the compiled part of 0.8.5's CPU build all the same: between
# the two nothing changed there that a CPU needs. So the tests can see the very engine that ARPO trains with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pinned=$PWD/.venv-pinned dir=$PWD/.venv-pinned/vllm-0.8.4
if [ -f "$dir/complete" ]; then exit 0; fi
installed=$("$pinned/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm
rm -rf "$dir"
mkdir "$dir"
echo "downloading vLLM 0.8.4 (290 MB)"
"$pinned/bin/python" -m pip download -q --disable-pip-version-check --no-input --no-deps --only-binary :all: \
  -d "$dir" vllm==0.8.4
"$pinned/bin/python" -m zipfile -e "$dir"/vllm-0.8.4-*.whl "$dir"
rm "$dir"/*.whl
# Of the CUDA build only the Python.
find "$dir" -name '*.so' -delete
cp "$installed"/*.so "$dir/vllm/"
# A version with "cpu" in it is how vLLM knows that it is to run on one.
mv "$dir/vllm-0.8.4.dist-info" "$dir/vllm-0.8.4+cpu.dist-info"
sed -i 's/^Version: .*/Version: 0.8.4+cpu/' "$dir/vllm-0.8.4+cpu.dist-info/METADATA"
PYTHONPATH=$dir "$pinned/bin/python" -c 'import vllm, vllm._C; assert vllm.__version__ == "0.8.4", vllm.__version__' \
  2>/dev/null || { echo "lay_vllm_0_8_4: vLLM 0.8.4 cannot be imported from $dir" >&2; exit 2; }
touch "$dir/complete"
