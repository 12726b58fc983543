#!/bin/sh
# One call on a lent GPU machine (docs/how-to/gpu.md): installs the carried wheels, runs the tests that need a GPU, measures.
#
#     sh benchmarks/gpu_session.sh [seconds]
#
# Ends within `seconds` (default 560). Nothing that fails stops what follows. Results lie in $OUT (default build/gpu):
# tests.log, gpu.json (written row by row), gpu.log. A gpu.json in build/gpu is continued, not measured again. TESTS=no
# leaves out the tests.
set -u
cd "$(dirname "$0")/.." || exit 1
limit=${1:-560}
begun=$(date +%s)
left() { echo $((limit - $(date +%s) + begun)); }
out=${OUT:-build/gpu}
python=${PYTHON:-python3}
site=/tmp/wwfl-gpu-site
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYTHONPATH="$site:src"

nvidia-smi -L
"$python" --version
if ls .gpu-wheels/*.whl >/dev/null 2>&1; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .gpu-wheels/*.whl
fi
"$python" tools/checkout_metadata.py "$site"  # nothing of ours is installed here
"$python" -m benchmarks.gpu_check 2>&1 | tee "$out/check.log"

if [ "${TESTS:-yes}" = yes ]; then
    spread=$("$python" -c 'import xdist; print("-n 6 --dist worksteal")' 2>/dev/null)
    # At most half of the time; single tests may take two minutes.
    # shellcheck disable=SC2086
    timeout $(($(left) / 2)) "$python" -m pytest -q -m gpu -p no:cacheprovider --timeout 120 --tb short \
        --continue-on-collection-errors $spread tests/core/accelerate >"$out/tests.log" 2>&1
    echo "tests: exit $? ($(left) s left)"
    tail -n 25 "$out/tests.log"
fi

[ "$out" = build/gpu ] || [ ! -f build/gpu/gpu.json ] || cp build/gpu/gpu.json "$out/gpu.json"
timeout $(($(left) - 10)) "$python" -m benchmarks.gpu --json "$out/gpu.json" --resume --seconds $(($(left) - 60)) \
    >"$out/gpu.log" 2>&1
echo "benchmark: exit $? ($(left) s left)"
tail -n 60 "$out/gpu.log"
