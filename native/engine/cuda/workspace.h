// The forward pass's memory on the card, sized when the engine opens.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

#include "engine/cuda/device_model.h"
#include "engine/cuda/memory.h"

namespace longshore::cuda {

// Rows of the products whose outputs are the widest (QKV, gate and up) at a time: their outputs take this many rows, not a step's.
constexpr uint32_t kSliceRows = 16384;
constexpr uint32_t kLogitRows = 64;         // logits computed at a time
constexpr uint32_t kMaxSequences = 512;     // items of a step
constexpr uint32_t kGroupSequences = 8;     // whose sparse attention shares an index
constexpr uint64_t kPartialBytes = 256u << 20;  // of decode attention's splits

struct Workspace {
  struct Limits {
    uint32_t rows;          // of a step
    uint32_t max_blocks;    // of a sequence
    bool sparse;            // whether any layer's prefill is
  };

  // kOutOfMemory when the card has too little left.
  Status Allocate(const DeviceModel& model, const Limits& limits);

  DeviceMemory memory;
  Limits limits{};
  uint32_t decode_sequences = 0;  // whose attention's splits fit in `partial` at once
  uint32_t mask_words = 0;

  bf16 *hidden, *normed;          // [rows][hidden]; normed also holds attention's output [rows][heads * head_dim]
  bf16 *q, *k, *v;                // [rows][heads or kv_heads][head_dim]
  float *cos, *sin;               // [rows][rope_dims / 2]
  bf16 *wide, *gated;             // [slice rows][max(qkv rows, 2 * intermediate)], [slice rows][intermediate]
  bf16* sampled;                  // [kLogitRows][hidden] hidden rows whose logits are wanted
  bf16* sampled_normed;           // [kLogitRows][hidden]
  float* logits;                  // [kLogitRows][vocab]
  void* best;                     // parts of the rows' best tokens
  float* partial;
  int32_t* schedule;              // two zeros
  void* gemm;
  bf16* means;                    // [kGroupSequences][kv_heads][mean tiles][TileElements]
  uint32_t* mask;                 // [heads][tiles][mask_words]
  int32_t* mask_count;            // [heads][tiles]
  int32_t* read_count;            // [heads][tiles][2]: what the second look left, for each half of a tile's rows
  unsigned long long* half_blocks;  // [2] half tiles times blocks since the engine opened: listed by the first look, read after the second

 private:
  void Place(const DeviceModel& model, Parts* parts);
};

}  // namespace longshore::cuda
