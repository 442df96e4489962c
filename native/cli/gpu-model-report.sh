#!/usr/bin/env bash
# Whole models on one CUDA card: builds, checks the engine against the CPU's and PyTorch's results, measures time to the first token and per decoded
# token, and prints JSON lines. Needs: nvcc 12.4 or later, cmake, a card, python3 with PyTorch.
# Usage: gpu-model-report.sh [the peer's script, e.g. torch_llama8b.py]. In the environment: LONGSHORE_NEEDLE_MODEL; LONGSHORE_TEXT_MODEL and
# LONGSHORE_TEXT_TOKENS, a model and a file of token ids to continue on both backends; LONGSHORE_CLI and LONGSHORE_ENGINE_TEST, programs built elsewhere.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=${LONGSHORE_GPU_BUILD:-$here/build/gpu-model}
out=${OUT:-$build}
mkdir -p "$build" "$out"
cli=${LONGSHORE_CLI:-$build/longshore-native}
test=${LONGSHORE_ENGINE_TEST:-$build/cuda_engine_test}
if [ -z "${LONGSHORE_CLI:-}" ]; then
  cmake -S "$here" -B "$build" -DLONGSHORE_ADDON=OFF -DLONGSHORE_TESTS=ON -DLONGSHORE_CUDA=ON >"$build/configure.log"
  cmake --build "$build" --parallel --target longshore-native cuda_engine_test >"$build/build.log" || { tail -40 "$build/build.log"; exit 1; }
fi
# cuBLASLt of PyTorch's own packages, where the system has none.
libraries=$(python3 -c 'import nvidia.cu13 as m; print(list(m.__path__)[0] + "/lib")' 2>/dev/null || true)
export LD_LIBRARY_PATH=${libraries:+$libraries:}/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}

timeout 120 "$test"
status=0
timeout 120 python3 "$here/test/cuda/llama_logits.py" "$cli" | tee "$out/model.jsonl" || status=1
if [ -n "${LONGSHORE_TEXT_MODEL:-}" ]; then
  for backend in "cuda" "cpu --exact"; do
    timeout 120 "$cli" generate --model "$LONGSHORE_TEXT_MODEL" --tokens "$LONGSHORE_TEXT_TOKENS" --max 48 --ignore-eos --backend $backend | tee -a "$out/model.jsonl" >"$out/greedy-${backend%% *}"
  done
  [ "$(grep -o '"tokens":[^]]*' "$out/greedy-cuda")" = "$(grep -o '"tokens":[^]]*' "$out/greedy-cpu")" ] || { echo "the card's greedy tokens differ from the CPU's"; status=1; }
fi
bench() { timeout 120 "$cli" bench --backend cuda "$@" | tee -a "$out/model.jsonl"; }
bench --model random:llama-3-8b --batch 131072 --prefill 2048,8192,32768,131072 --decode 64 --repeat 3
# Attention that has something to be sparse about: runs of equal tokens, larger query and key weights. The line says how much of it was computed.
bench --model random:llama-3-8b,query_scale="${LONGSHORE_QUERY_SCALE:-8}" --batch 131072 --prefill 8192,32768,131072 --decode 0 --repeat 3 --run-length 128 --policy block_energy
[ $# = 0 ] || timeout 180 python3 "$1" | sed 's/^{/{"peer": "PyTorch", /' | tee -a "$out/model.jsonl"
exit "$status"
