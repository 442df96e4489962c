"""Makes quant/<TYPE>.blocks and quant/<TYPE>.f32: rows of quantized blocks and what ggml-org's numpy code reads from them.

Run: python3 make_quant_rows.py        (needs the PyPI packages gguf and numpy; made with gguf 0.19, numpy 2)

Per type one row of 2 K-quant or 16 small blocks. Half of the blocks quantize a random row (where the package can quantize the type),
the rest are random bytes under scales of every kind: normal, negative, subnormal, zero.
"""
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

OUT = Path(__file__).parent / "quant"
# f16 fields at these byte offsets of a block hold scales; everything else may be any bytes.
SCALES = {
    Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0],
    Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208],
}
SOME_SCALES = np.array([0.01, -0.013, 3e-7, 0.0, 1.5, -2e-5, 0.25, 65504.0], dtype=np.float16)

rng = np.random.default_rng(20240611)
OUT.mkdir(exist_ok=True)
for kind, offsets in SCALES.items():
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 16 if elements == 32 else 4
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for i in range(count):
        for j, offset in enumerate(offsets):
            scale = SOME_SCALES[(i + 3 * j) % len(SOME_SCALES)]
            blocks[i, offset : offset + 2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    try:
        row = rng.standard_normal((1, count // 2 * elements)).astype(np.float32)
        blocks[: count // 2] = gguf.quants.quantize(row, kind).reshape(-1, size)
    except NotImplementedError:
        pass
    expected = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype("<f4")
    (OUT / f"{kind.name}.blocks").write_bytes(blocks.tobytes())
    (OUT / f"{kind.name}.f32").write_bytes(expected.tobytes())
    print(kind.name, blocks.nbytes, "bytes", expected.size, "weights")
