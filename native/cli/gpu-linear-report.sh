#!/usr/bin/env bash
# The part of gpu-report.sh that needs no Python: linear kernels, sampling and codecs. Builds with nvcc, checks against the slow twins and the
# host's sampler and codec, then times them; JSON lines, also in $OUT if set. About 30 s with 16 cores. Usage: gpu-linear-report.sh
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=${LONGSHORE_GPU_BUILD:-$here/build/gpu}/linear
out=${OUT:-$build}
mkdir -p "$build" "$out"
flags=(-std=c++20 -O3 -lineinfo -gencode=arch=compute_90a,code=sm_90a -Xcompiler -Wall,-Wextra,-fPIC -I"$here")
cuda=$here/kernels/cuda
sources=("$cuda"/{linear,codec}/*.cu "$cuda"/linear/*.cc "$here"/engine/{sampler,status}.cc)
programs=("$cuda"/{linear,codec}/test/*.cu "$here"/test/cuda/{sampling,int8_blocks,random_weights}_test.cu)

compile() { nvcc "${flags[@]}" -Xptxas -v -c "$1" -o "$build/$(basename "$1").o" >"$build/$(basename "$1").log" 2>&1 || { cat "$build/$(basename "$1").log"; exit 1; }; }
pids=()
for f in "${sources[@]}" "${programs[@]}"; do compile "$f" & pids+=($!); done
for p in "${pids[@]}"; do wait "$p"; done
grep -h "bytes spill" "$build"/*.log | sort | uniq -c | grep -v " 0 bytes spill stores, 0 bytes spill loads" || true
objects=(); for f in "${sources[@]}"; do objects+=("$build/$(basename "$f").o"); done
pids=()
for f in "${programs[@]}"; do
  nvcc -gencode=arch=compute_90a,code=sm_90a -o "$build/$(basename "$f" .cu)" "$build/$(basename "$f").o" "${objects[@]}" -ldl & pids+=($!)
done
for p in "${pids[@]}"; do wait "$p"; done

status=0
for f in "${programs[@]}"; do case $f in *_test.cu) timeout 100 "$build/$(basename "$f" .cu)" || status=1 ;; esac; done
[ "$status" = 0 ] || { echo "a kernel differs from its twin"; exit 1; }
timeout 100 "$build/linear_report" | tee "$out/linear.jsonl"
timeout 100 "$build/codec_report" | tee "$out/codec.jsonl"
