"""The CUDA kernels on torch tensors, through ctypes and bridge.cu. Shapes: q [n, H, 128], k and v [n, HK, 128], bf16."""
import ctypes as C, math
import torch

i32, i64, f32, ptr = C.c_int32, C.c_int64, C.c_float, C.c_void_p
BLOCK, D = 128, 128

def struct(name, **fields):
    return type(name, (C.Structure,), {"_fields_": list(fields.items())})

PagedKv = struct("PagedKv", k=ptr, v=ptr, block_stride=i64, head_stride=i64, block_table=ptr, table_stride=i32)
PrefillTile = type("PrefillTile", (C.Structure,), {"_fields_": [("row", i32), ("first", C.c_int16), ("last", C.c_int16), ("query_block", i32), ("sequence", i32)]})
KvWrite = struct("KvWrite", k=ptr, v=ptr, kv_heads=i32, head_dim=i32, kv=PagedKv, tiles=ptr, tile_count=i32)
BlockMeans = struct("BlockMeans", means=ptr, tiles=i32)
BlockEnergy = struct("BlockEnergy", q=ptr, rows=i64, heads=i32, kv_heads=i32, head_dim=i32, means=BlockMeans, tiles=ptr, tile_count=i32, max_query_block=i32, scale=f32,
                     alpha=f32, sink=i32, window=i32, mask=ptr, mask_count=ptr, mask_words=i32, plain=C.c_bool)
PrefillAttention = struct("PrefillAttention", q=ptr, out=ptr, rows=i64, heads=i32, kv_heads=i32, head_dim=i32, kv=PagedKv, tiles=ptr, tile_count=i32, section_kv_heads=i32,
                          scale=f32, sliding_window=i32, mask=ptr, mask_count=ptr, mask_words=i32, tau=f32, sink=i32, window=i32, read_mask=ptr, read_count=ptr, schedule=ptr, plain=C.c_bool)
DecodeAttention = struct("DecodeAttention", q=ptr, out=ptr, sequences=i32, heads=i32, kv_heads=i32, head_dim=i32, kv=PagedKv, lengths=ptr, max_length=i32,
                         scale=f32, sliding_window=i32, partial=ptr, plain=C.c_bool)

SketchPool = struct("SketchPool", entries=ptr, block_stride=i64, head_stride=i64)
SketchBuild = struct("SketchBuild", kv=PagedKv, sketches=SketchPool, kv_heads=i32, head_dim=i32, tiles=ptr, tile_count=i32)
SketchDecode = struct("SketchDecode", q=ptr, out=ptr, sequences=i32, heads=i32, kv_heads=i32, head_dim=i32, kv=PagedKv, sketches=SketchPool, lengths=ptr,
                      max_length=i32, scale=f32, min_tokens=i32, sink_tokens=i32, window_tokens=i32, rescore=f32, min_rescore=i32, keep=f32, workspace=ptr,
                      counts=ptr)

class Kernels:
    def __init__(self, path):
        self.lib = C.CDLL(path)
        self.lib.longshore_decode_partial_floats.restype = i64
        self.lib.longshore_sketch_bytes.restype = self.lib.longshore_sketch_decode_bytes.restype = i64
        sizes = (i32 * 8)()
        self.lib.longshore_sizes(sizes)
        mine = [C.sizeof(t) for t in (PagedKv, PrefillTile, KvWrite, BlockEnergy, PrefillAttention, DecodeAttention, SketchBuild, SketchDecode)]
        assert list(sizes) == mine, (list(sizes), mine)

    def call(self, name, *params):
        error = getattr(self.lib, name)(*[C.byref(p) for p in params], ptr(torch.cuda.current_stream().cuda_stream))
        assert error == 0, f"{name}: cudaError {error}"

class Prompt:
    """One prompt of n tokens in a paged pool of shuffled blocks; the last n - start tokens are the chunk."""
    def __init__(self, kernels, k, v, heads, start=0):
        self.kernels, self.n, self.heads, self.start = kernels, k.shape[0], heads, start
        dev = k.device; self.kv_heads = k.shape[1]
        self.blocks = (self.n + BLOCK - 1) // BLOCK
        self.pool = torch.full((self.blocks, self.kv_heads, 2, BLOCK * D), float("nan"), device=dev, dtype=torch.bfloat16)
        self.table = torch.randperm(self.blocks, device=dev).to(torch.int32)
        self.kv = PagedKv(self.pool.data_ptr(), self.pool.data_ptr() + 2 * BLOCK * D, self.kv_heads * 2 * BLOCK * D, 2 * BLOCK * D, self.table.data_ptr(), self.blocks)
        self.mean_tiles = (self.blocks + BLOCK - 1) // BLOCK
        self.means = torch.full((self.kv_heads, self.mean_tiles, BLOCK * D), float("nan"), device=dev, dtype=torch.bfloat16)
        self.all_tiles, self.all_count = self.plan(0, self.n)
        self.tiles, self.tile_count = self.plan(start, self.n - start)
        kernels.call("longshore_kv_write", KvWrite(k.data_ptr(), v.data_ptr(), self.kv_heads, D, self.kv, self.all_tiles.data_ptr(), self.all_count))
        self.schedule = torch.zeros(2, device=dev, dtype=torch.int32)
        self.words = (self.blocks + 31) // 32
        self.mask = torch.zeros(heads, self.tile_count, self.words, device=dev, dtype=torch.int32)
        self.count = torch.full((heads, self.tile_count), -1, device=dev, dtype=torch.int32)
        # As many kv heads at a time as fit in about half of the L2 cache.
        fit = max(1, (32 << 20) // (self.n * D * 4))
        self.section = max(s for s in range(1, self.kv_heads + 1) if self.kv_heads % s == 0 and s <= fit)

    def plan(self, start, length):
        tiles = (PrefillTile * (length // BLOCK + 2))()
        count = self.kernels.lib.longshore_plan_tiles(start, length, tiles, len(tiles))
        assert count <= len(tiles)
        return torch.frombuffer(bytearray(tiles), dtype=torch.int32)[: 4 * count].cuda(), count

    def energy_params(self, q, alpha, sink=2, window=4):
        return BlockEnergy(q.data_ptr(), q.shape[0], self.heads, self.kv_heads, D, BlockMeans(self.means.data_ptr(), self.mean_tiles), self.tiles.data_ptr(),
                           self.tile_count, self.blocks - 1, D ** -0.5, alpha, sink, window, self.mask.data_ptr(), self.count.data_ptr(), self.words)

    def block_means(self, q):
        p = self.energy_params(q, 0)
        p.tiles, p.tile_count = self.all_tiles.data_ptr(), self.all_count
        self.kernels.call("longshore_block_means", p, self.kv)

    def block_energy(self, q, alpha): self.kernels.call("longshore_block_energy", self.energy_params(q, alpha))

    def prefill(self, q, out, listed=False, section=None, tau=0.0, read_mask=None, read_count=None, sink=2, window=4):
        self.kernels.call("longshore_prefill", PrefillAttention(q.data_ptr(), out.data_ptr(), q.shape[0], self.heads, self.kv_heads, D, self.kv, self.tiles.data_ptr(),
            self.tile_count, section or self.section, D ** -0.5, 0, self.mask.data_ptr() if listed else None, self.count.data_ptr() if listed else None, self.words,
            tau, sink, window, read_mask.data_ptr() if read_mask is not None else None, read_count.data_ptr() if read_count is not None else None,
            self.schedule.data_ptr()))

    def listed(self, mask=None):
        """bool [heads, tiles, blocks], tiles by ascending query block, blocks past a tile's own False."""
        mask = self.mask if mask is None else mask
        bits = (mask[:, :, :, None] >> torch.arange(32, device=self.mask.device)) & 1
        bits = bits.flatten(2)[:, :, : self.blocks].bool().flip(1)
        own = torch.arange(self.blocks - self.tile_count, self.blocks, device=bits.device)
        return bits & (torch.arange(self.blocks, device=bits.device)[None, :] <= own[:, None])

class Decode:
    """Decode of one token of one sequence whose keys and values are a Prompt's."""
    def __init__(self, prompt):
        self.prompt = prompt; dev = prompt.pool.device
        self.lengths = torch.tensor([prompt.n], device=dev, dtype=torch.int32)
        self.partial = torch.full((prompt.kernels.lib.longshore_decode_partial_floats(1, prompt.heads, prompt.kv_heads, D, prompt.n),), float("nan"), device=dev)

    def __call__(self, q, out):
        p = self.prompt
        p.kernels.call("longshore_decode", DecodeAttention(q.data_ptr(), out.data_ptr(), 1, p.heads, p.kv_heads, D, p.kv, self.lengths.data_ptr(), p.n, D ** -0.5, 0,
                                                           self.partial.data_ptr()))

class SketchedDecode:
    """sketch_topk decode of one token of a Prompt. The sketches are held `copies` times, so that repeated calls do not find them in the cache."""
    def __init__(self, prompt, copies=1):
        self.prompt = prompt; dev = prompt.pool.device; lib = prompt.kernels.lib
        self.entry = lib.longshore_sketch_bytes(D); self.calls = 0
        self.entries = [torch.full((prompt.blocks * prompt.kv_heads * self.entry,), 255, device=dev, dtype=torch.uint8) for _ in range(copies)]
        self.lengths = torch.tensor([prompt.n], device=dev, dtype=torch.int32)
        self.counts = torch.full((prompt.heads, 2), -1, device=dev, dtype=torch.int32)
        self.workspace = torch.full((lib.longshore_sketch_decode_bytes(1, prompt.heads, prompt.n),), 255, device=dev, dtype=torch.uint8)
        for i in range(copies): self.build(i)

    def pool(self, i): return SketchPool(self.entries[i].data_ptr(), self.prompt.kv_heads * self.entry, self.entry)

    def build(self, i=0):
        p = self.prompt
        p.kernels.call("longshore_sketch_build", SketchBuild(p.kv, self.pool(i), p.kv_heads, D, p.all_tiles.data_ptr(), p.all_count))

    def __call__(self, q, out, rescore=0.005, part="decode"):
        p = self.prompt; self.calls += 1
        p.kernels.call("longshore_sketch_" + part, SketchDecode(q.data_ptr(), out.data_ptr(), 1, p.heads, p.kv_heads, D, p.kv, self.pool(self.calls % len(self.entries)),
            self.lengths.data_ptr(), p.n, D ** -0.5, 8192, 128, 256, rescore, 64, 0.99, self.workspace.data_ptr(), self.counts.data_ptr()))
