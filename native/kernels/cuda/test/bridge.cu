// A C face of the launchers for the report's Python script, which owns the tensors. Each returns a cudaError_t.
#include <algorithm>
#include <cstring>

#include "kernels/cuda/block_energy.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/kv_write.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/sketch_kernels.h"

using namespace longshore::cuda;

extern "C" {

// Tiles of one prompt's chunk into out[capacity]; returns how many there are.
int32_t longshore_plan_tiles(int32_t start, int32_t length, PrefillTile* out, int32_t capacity) {
  const PrefillChunk chunk = {0, start, length};
  const std::vector<PrefillTile> tiles = PlanPrefillTiles({&chunk, 1});
  std::copy_n(tiles.begin(), std::min<size_t>(tiles.size(), capacity), out);
  return static_cast<int32_t>(tiles.size());
}

int longshore_kv_write(const KvWrite* params, cudaStream_t stream) { return LaunchKvWrite(*params, stream); }

int longshore_block_means(const BlockEnergy* energy, const PagedKv* kv, cudaStream_t stream) {
  return LaunchBlockMeans(*kv, energy->kv_heads, energy->head_dim, energy->tiles, energy->tile_count, energy->means, stream);
}

int longshore_block_energy(const BlockEnergy* params, cudaStream_t stream) { return LaunchBlockEnergy(*params, stream); }

int longshore_prefill(const PrefillAttention* params, cudaStream_t stream) { return LaunchPrefillAttention(*params, stream); }

int longshore_decode(const DecodeAttention* params, cudaStream_t stream) { return LaunchDecodeAttention(*params, stream); }

int64_t longshore_decode_partial_floats(int32_t sequences, int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t max_length) {
  return DecodePartialFloats(sequences, heads, kv_heads, head_dim, max_length);
}

int longshore_sketch_build(const SketchBuild* params, cudaStream_t stream) { return LaunchSketchBuild(*params, stream); }

int longshore_sketch_decode(const SketchDecode* params, cudaStream_t stream) { return LaunchSketchDecode(*params, stream); }

// Its two kernels apart, to time them.
int longshore_sketch_scan(const SketchDecode* params, cudaStream_t stream) { return LaunchSketchScan(*params, stream); }
int longshore_sketch_attend(const SketchDecode* params, cudaStream_t stream) { return LaunchSketchAttend(*params, stream); }

int64_t longshore_sketch_bytes(int32_t head_dim) { return SketchBytes(head_dim); }
int64_t longshore_sketch_decode_bytes(int32_t sequences, int32_t heads, int32_t max_length) { return SketchDecodeBytes(sequences, heads, max_length); }

// sizeof of each struct, so that the script's copies of them cannot drift unseen.
int32_t longshore_sizes(int32_t* sizes) {
  const size_t all[] = {sizeof(PagedKv), sizeof(PrefillTile), sizeof(KvWrite), sizeof(BlockEnergy), sizeof(PrefillAttention), sizeof(DecodeAttention),
                        sizeof(SketchBuild), sizeof(SketchDecode)};
  for (size_t i = 0; i < 8; i++) sizes[i] = static_cast<int32_t>(all[i]);
  return 8;
}
}
