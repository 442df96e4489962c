// The kernels' whole face: plain structs of shapes and strides, and one table of functions per instruction set.
//
// Every kernel computes an output element by one fixed sequence of operations that depends only on the shapes of the model,
// never on how many rows a call has or which rows share a register tile: this is what makes the engine batch-invariant.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel.h"

namespace longshore::kernels {

constexpr uint32_t kKeyTile = 128;        // keys per attention tile = tokens of a KV block
constexpr uint32_t kMaxAttendRows = 128;  // query rows per attention call
constexpr uint32_t kMaxHeadDim = 512;

// Activations quantized to 8 bits, `rows` rows of k inputs; strides in elements.
struct QuantRows {
  int8_t* q;            // [rows][k], none -128
  float* scale;         // [rows][k/32]
  int32_t* sum32;       // [rows][k/32] sum of q over 32 inputs
  int32_t* sum16;       // [rows][k/16] the same over 16
  float* scaled_sum;    // [rows][k/32] scale * sum32
  uint32_t k;           // a multiple of 32
};

// out[r][n] (+)= sum over k of w[n][k] x[r][k] (+ bias[n]) for all n of the given panels.
struct QuantProduct {
  QuantFormat format;
  const uint8_t* panels;  // [panel_count][k/group] groups
  size_t panel_bytes;
  uint32_t panel_count;
  const QuantRows* x;
  uint32_t row, rows;     // rows [row, row + rows) of x
  const float* bias;      // [16 * panel_count] or null
  float* out;             // element (row, first output); [rows][out_stride]
  size_t out_stride;      // floats
  bool accumulate;        // add to what is there
};

enum class FloatType { kF32, kF16, kBf16 };

struct FloatProduct {
  FloatType type;
  const void* panels;     // [panel_count][k][16]
  size_t panel_bytes;
  uint32_t panel_count;
  uint32_t k;
  const float* x;         // [rows][x_stride]
  size_t x_stride;
  uint32_t rows;
  const float* bias;
  float* out;
  size_t out_stride;
  bool accumulate;
};

// Attention of `rows` query rows over the tiles of one split: fills m, l, o from scratch.
//   s = q.k, in base-2 logits: q comes scaled by softmax scale * log2(e);  m = max s;  l = sum 2^(s-m);  o = sum 2^(s-m) v
// Rows come token-major: row r belongs to the token at `position + r / group` and sees the keys [0, that position].
// With a `window`, of those only the last `window` ones. Rows that see no key of the split get m = -inf, l = 0, o = 0.
// Tiles of bf16 pools: K [head_dim/2][128][2], V [64][padded][2]; of f32 pools: K [head_dim][128], V [128][padded].
struct Attend {
  const float* q;                // [rows][head_dim]
  const uint16_t* q_bf16;        // the same rounded to bf16; read by kernels with bf16 products
  uint32_t rows, group;
  uint32_t position;             // of row 0's token
  uint32_t first_key;            // of tile 0; a multiple of 128
  uint32_t tiles;
  const void* const* k_tiles;    // [tiles]
  const void* const* v_tiles;
  uint32_t head_dim, padded;     // even; padded to a multiple of 16
  float* scores;                 // scratch [rows][128]
  void* probabilities;           // scratch [rows][128] f32 or bf16
  float* m;                      // [rows]
  float* l;                      // [rows]
  float* o;                      // [rows][padded]
  uint32_t window;               // keys that a row sees at most, its own among them; 0: all
  const uint32_t* first_keys = nullptr;  // [tiles] of each tile; null: tiles are consecutive from first_key
  const uint32_t* key_counts = nullptr;  // [tiles] keys that a tile holds; null: 128 each
};

// A KV block's keys around their mean, in 8 bits: k ~ mean + (code - 128) * scale.
struct KeyCodes {
  const uint8_t* codes;          // [depth/4][128][4]
  const float* scale;            // [128]
};

// Approximate base-2 logits of `rows` query rows over one block's keys: mean_score[r] + q[r].(key - mean) in 8 bits.
struct Look {
  const int8_t* q;               // [rows][depth], none -128
  const float* q_scale;          // [rows]
  const int32_t* q_sum;          // [rows] sum of q
  uint32_t rows, depth;          // depth: head_dim rounded up to 4
  KeyCodes keys;
  const float* mean_score;       // element (0, this block) of [rows][128]
};

// Blocks' sketches against the queries of some heads: score = q.mean + factor (bias + step * sum of 4-channel table entries).
// A sketch: codes [groups][64], factors [128] f16, mean [padded] bf16. Byte i of codes holds key i/2 + 32 (i % 2) in its low four bits
// and that key + 64 in its high ones: the signs of four rotated channels, bit set where not negative. groups: a multiple of 4.
// tables: entries at most 63, so that four add up in a byte.
struct SketchQuery {
  const float* q;                // [padded]
  const uint8_t* tables;         // [groups][16]
  float bias, step;
  float* scores;                 // [blocks][128]
  float* best;                   // [blocks][16]: the largest of keys i, i + 16, ..., i + 112
};
struct SketchScan {
  const uint8_t* const* sketches;  // [blocks]
  uint32_t blocks, groups, padded;
  const SketchQuery* queries;
  uint32_t count;
};

// Softmax-weighted values of single keys: o += sum 2^(scores[i] - m) v_i, l += sum 2^(scores[i] - m).
struct AttendKeys {
  const float* scores;           // [count], readable up to a multiple of 16
  const uint16_t* const* values; // [count] first channel of key i in its V tile of a bf16 pool (stride 2)
  uint32_t count, padded;
  float m;
  float* l;                      // [1]
  float* o;                      // [padded]
};

enum class KvKind { kBf16, kBf16Exact, kF32 };  // kBf16Exact: bf16 keys and values, f32 queries and probabilities

struct KernelTable {
  const char* isa;
  uint32_t (*fingerprint)();                    // hash of the results' bits on this machine
  uint32_t known_fingerprint;                   // what it is where this numerics version was made
  uint64_t task_products;                       // multiply-adds that take a thread a few milliseconds at most
  void (*multiply_quantized)(const QuantProduct&);
  void (*multiply_float)(const FloatProduct&);
  void (*attend[3])(const Attend&);             // by KvKind
  bool attend_reads_bf16;                       // attend[kBf16] reads q_bf16
  // scores[r][0, columns) of all rows over one tile (k_tiles[0]); columns a multiple of 16, rounded up to whole register tiles.
  void (*score[3])(const Attend&, uint32_t columns);
  // energy[j] = sum over rows of 2^(s[r][j] - max_j s[r][j]) for the columns [0, columns) of scores [tiles][rows][128].
  void (*energies)(const float* scores, uint32_t rows, uint32_t columns, float* energy);
  // Mean key and 8-bit codes of a full K tile of the pool's type.
  void (*encode_keys[3])(const void* k_tile, uint32_t head_dim, float* mean, uint8_t* codes, float* scale);
  // Rows of floats to int8 with a scale each: q [rows][depth], depth >= head_dim filled with zeros.
  void (*quantize_rows)(const float* x, uint32_t rows, uint32_t head_dim, uint32_t depth, int8_t* q, float* scale, int32_t* sum);
  // The look's best score m[r] over a block and l[r] = sum of 2^(s - m); rows with m < floor[r] get l = 0 (floor null: none).
  void (*look)(const Look&, const float* floor, float* m, float* l);
  // keep[i]: some row has l[i][r] 2^m[i][r] >= tau of its mass, which is l0[r] 2^m0[r] plus that of all `count` blocks. m, l: [count][128].
  void (*keep_by_mass)(const float* m0, const float* l0, const float* m, const float* l, uint32_t rows, uint32_t count, float tau, uint8_t* keep);
  // Adds the look's probabilities 2^(s - m[r]) / l[r] to columns[key] and to diagonals[key - r + rows - 1].
  void (*look_lines)(const Look&, const float* m, const float* inverse_l, float* columns, float* diagonals);
  // (m, l, o) of `rows` rows += another part, by log-sum-exp. The order of parts matters to the bits.
  void (*merge)(float* m, float* l, float* o, const float* m2, const float* l2, const float* o2, uint32_t rows, uint32_t padded);
  void (*scan_sketches)(const SketchScan&);
  // How many of x[0, n) are >= least; n a multiple of 16.
  uint32_t (*count_at_least)(const float* x, uint32_t n, float least);
  // Keys of [blocks][128] whose score is >= least, in order; `best` as of a SketchQuery. Ends before a block that may not fit in `room`.
  uint32_t (*list_at_least)(const float* scores, const float* best, uint32_t blocks, float least, uint32_t room, uint32_t* out);
  // out[i] = q . rows[i]; rows of n bf16, n a multiple of 16.
  void (*dot_bf16)(const uint16_t* const* rows, uint32_t count, const float* q, uint32_t n, float* out);
  void (*attend_keys)(const AttendKeys&);
  // out = x / rms(x) * weight over n elements.
  void (*rms_norm)(const float* x, const float* weight, uint32_t n, float eps, float* out);
  // Row r of `out` from k floats, a scale per 32 inputs (ggml's Q8_0/Q8_1: scale rounded to f16) or per 256 (Q8_K).
  void (*quantize_32)(const float* x, uint32_t r, const QuantRows* out);
  void (*quantize_256)(const float* x, uint32_t r, const QuantRows* out);
  // out = gate * sigmoid(gate) * up; n a multiple of 16.
  void (*swiglu)(const float* gate, const float* up, uint32_t n, float* out);
  // out = gelu(gate) * up, gelu by its tanh formula; n a multiple of 16.
  void (*geglu)(const float* gate, const float* up, uint32_t n, float* out);
  // Rotates x[i], x[i + half] by the angles' cos and sin, i < half.
  void (*rotate)(float* x, const float* cos, const float* sin, uint32_t half);
  void (*to_bf16)(const float* x, uint32_t n, uint16_t* out);  // round half to even; n a multiple of 16
};

// The best table this CPU can run and that is not above `isa` ("auto", "portable", "avx2", "avx512"); null for another name
// or for an instruction set that this CPU or build lacks.
const KernelTable* SelectKernels(const char* isa);

}  // namespace longshore::kernels
