// Memory layouts of ggml's quantized blocks (ggml-common.h). All little-endian; f16 fields are raw bits.
#pragma once

#include <cstdint>

namespace longshore {

constexpr int kSmallBlock = 32;   // weights of a Q4_0 ... Q8_0 block
constexpr int kSuperBlock = 256;  // weights of a K-quant block

struct BlockQ4_0 {   // w = d (q - 8)
  uint16_t d;        // f16 scale
  uint8_t qs[16];    // weight i in the low nibble of qs[i], weight i + 16 in the high one
};

struct BlockQ4_1 {   // w = d q + m
  uint16_t d;        // f16 scale
  uint16_t m;        // f16 minimum
  uint8_t qs[16];
};

struct BlockQ5_0 {   // w = d (q - 16)
  uint16_t d;
  uint8_t qh[4];     // bit i of the little-endian u32: fifth bit of weight i
  uint8_t qs[16];
};

struct BlockQ5_1 {   // w = d q + m
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};

struct BlockQ8_0 {   // w = d q
  uint16_t d;
  int8_t qs[32];
};

struct BlockQ4_K {   // 8 sub-blocks of 32: w = d sc q - dmin m
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 8 pairs of 6-bit scale and minimum, see UnpackScaleMin
  uint8_t qs[128];     // per 64 weights 32 bytes: low nibbles the first 32, high nibbles the next 32
};

struct BlockQ5_K {   // like Q4_K with a fifth bit
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];      // bit j of qh[l]: fifth bit of weight 32 j + l
  uint8_t qs[128];
};

struct BlockQ6_K {   // 16 sub-blocks of 16: w = d sc (q - 32)
  uint8_t ql[128];     // low 4 bits
  uint8_t qh[64];      // high 2 bits
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

// Sub-block j's (0..7) 6-bit scale and minimum of a Q4_K or Q5_K block.
inline void UnpackScaleMin(const uint8_t scales[12], int j, uint8_t* scale, uint8_t* min) {
  if (j < 4) {
    *scale = scales[j] & 63;
    *min = scales[j + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((scales[j + 4] & 0x0F) | ((scales[j - 4] >> 6) << 4));
    *min = static_cast<uint8_t>((scales[j + 4] >> 4) | ((scales[j] >> 6) << 4));
  }
}

}  // namespace longshore
