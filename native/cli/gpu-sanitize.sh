#!/usr/bin/env bash
# memcheck and racecheck over the small cases of the kernels' tests; the tests must have been built by gpu-report.sh and gpu-linear-report.sh.
set -uo pipefail
build=${LONGSHORE_GPU_BUILD:?the build folder of gpu-report.sh}
for tool in memcheck racecheck; do
  while read -r test case; do
    echo "== $tool $test $case"
    timeout "${LONGSHORE_SANITIZE_SECONDS:-100}" compute-sanitizer --tool "$tool" --print-limit 3 "$build/$test" "$case" 2>&1 | grep -v "^=========$" | tail -12
  done <<'CASES'
prefill_attention_test sliding_window
decode_attention_test sliding_window
sketch_decode_test for_each_group_size
sketch_decode_test hold_the_signs
prefill_attention_test after_a_cached_prefix
prefill_attention_test seven_heads
prefill_attention_test second_look
block_energy_test rows_of_no_query
decode_attention_test each_group_size
linear/gemv_test adds_to
linear/gemv_test rotates
linear/elementwise_test rms
linear/elementwise_test split
linear/elementwise_test gated
linear/sampling_test best_token
linear/int8_blocks_test fewer
CASES
done
