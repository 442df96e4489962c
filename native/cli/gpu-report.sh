#!/usr/bin/env bash
# Builds the CUDA kernels with nvcc, checks them against their slow twins, measures them beside their peers and prints JSON lines.
# Needs: nvcc 12.4 or later, a Hopper GPU, python3 with PyTorch. Usage: gpu-report.sh [parts] [tokens,...]; output also in $OUT if set.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=${LONGSHORE_GPU_BUILD:-$here/build/gpu}
out=${OUT:-$build}
mkdir -p "$build" "$out"
flags=(-std=c++20 -O3 -lineinfo -Xcompiler -Wall,-Wextra,-fPIC -I"$here")
cuda=$here/kernels/cuda
hopper=(-gencode=arch=compute_90a,code=sm_90a)
kernels=(tensor_map.cu kv_write.cu prefill_attention.cu block_energy.cu decode_attention.cu attention_dispatch.cc prefill_tiles.cc generic_prefill.cu generic_energy.cu generic_decode.cu sketch_build.cu sketch_scan.cu sketch_attend.cu sketch_decode.cc)
tests=(prefill_attention_test block_energy_test decode_attention_test sketch_decode_test)

plain=(-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_89,code=sm_89 -gencode=arch=compute_90,code=sm_90)

compile() {
  local target=("${hopper[@]}")
  case $1 in */generic_*|*/kv_write.cu|*/sketch_build.cu) target=("${plain[@]}") ;; esac
  nvcc "${flags[@]}" "${target[@]}" -Xptxas -v -c "$1" -o "$build/$(basename "$1").o" >"$build/$(basename "$1").log" 2>&1 || { cat "$build/$(basename "$1").log"; exit 1; }
}
pids=()
for f in "${kernels[@]/#/$cuda/}" "$cuda"/test/{bridge,prompts,slow_twins}.cu "${tests[@]/#/$cuda/test/}"; do
  case $f in *_test) f=$f.cu ;; esac
  compile "$f" & pids+=($!)
done
for p in "${pids[@]}"; do wait "$p"; done
objects=(); for f in "${kernels[@]}"; do objects+=("$build/$f.o"); done
nvcc -shared -o "$build/liblongshore_cuda.so" "${objects[@]}" "$build/bridge.cu.o"
for t in "${tests[@]}"; do nvcc -o "$build/$t" "$build/$t.cu.o" "$build/prompts.cu.o" "$build/slow_twins.cu.o" "${objects[@]}"; done
grep -h "C75\|bytes spill" "$build"/*.log | sort | uniq -c | grep -v " 0 bytes spill stores, 0 bytes spill loads" || true

status=0
for t in "${tests[@]}"; do timeout 120 "$build/$t" || status=1; done
[ "$status" = 0 ] || { echo "a kernel differs from its twin"; [ "${LONGSHORE_MEASURE_ANYWAY:-0}" = 1 ] || exit 1; }
PYTHONUNBUFFERED=1 timeout ${LONGSHORE_REPORT_SECONDS:-480} python3 "$cuda/test/gpu_report.py" "$build/liblongshore_cuda.so" "$@" | tee "$out/report.jsonl"
"$here/cli/gpu-linear-report.sh" || status=1
exit "$status"
