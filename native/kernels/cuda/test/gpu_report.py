"""Measures the CUDA attention kernels against cuDNN and FlashAttention (through PyTorch) on the same tensors in the same run.

Llama-3-8B shape: 32 query heads, 8 kv heads, head_dim 128, bf16, batch 1, causal. One JSON object per line. Usage:
gpu_report.py LIBRARY [dense,sparse,chunk,decode,sketch,peers] [tokens,...]
Structured data: a sink every query likes, a band (the logit depends on the distance), and topics that one key block in eight
carries and each query block asks for four of, as in long documents; random data would scatter what no real model scatters.
"""
import json, os, subprocess, sys, time
import torch, torch.nn.functional as F
from torch.nn.attention import sdpa_kernel, SDPBackend
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from longshore_cuda import Kernels, Prompt, Decode, SketchedDecode, BLOCK, D

H, HK = 32, 8
dev = "cuda"
kernels = Kernels(os.path.abspath(sys.argv[1]))
parts = sys.argv[2].split(",") if len(sys.argv) > 2 else ["dense", "sparse", "chunk", "decode", "sketch", "peers"]
sizes = [int(x) for x in sys.argv[3].split(",")] if len(sys.argv) > 3 else [4096, 8192, 32768, 131072, 524288]
started = time.time()
machine = dict(device=torch.cuda.get_device_name(0), torch=torch.__version__, cudnn=torch.backends.cudnn.version(), commit=os.environ.get("LONGSHORE_COMMIT", "unknown"))

def emit(**row): print(json.dumps({**row, "t": round(time.time() - started, 1)}), flush=True)

def graph_of(call, repeat):
    """A CUDA graph of `repeat` calls: what is timed is the device's work, not Python's."""
    stream = torch.cuda.Stream(); stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream): call()
    stream.synchronize(); graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(repeat): call()
    return graph

def timed_together(calls, rounds, warm=1, repeat=1):
    """Median milliseconds of each call; rounds interleave the calls, so that clocks and heat treat them alike."""
    graphs = {name: graph_of(call, repeat) for name, call in calls.items()}
    times = {name: [] for name in calls}
    for r in range(warm + rounds):
        for name, graph in graphs.items():
            a, b = torch.cuda.Event(True), torch.cuda.Event(True)
            a.record(); graph.replay(); b.record(); torch.cuda.synchronize()
            if r >= warm: times[name].append(a.elapsed_time(b) / repeat)
    return {name: sorted(t)[len(t) // 2] for name, t in times.items()}, {name: [round(x, 4) for x in t] for name, t in times.items()}

def structured(n):
    """q [n, H, D], k and v [n, HK, D], bf16."""
    g = torch.Generator(device=dev).manual_seed(n)
    draw = lambda *s: torch.randn(*s, device=dev, dtype=torch.bfloat16, generator=g)
    unit = lambda *s: F.normalize(torch.randn(*s, device=dev, generator=g), dim=-1).to(torch.bfloat16)
    q, k, v = draw(n, H, D) * 0.5, draw(n, HK, D) * 0.5, draw(n, HK, D)
    sink = unit(D); q += 4 * sink; k[:64] += 17 * sink
    angle = torch.arange(n, device=dev).float()[:, None] / (1e4 ** (torch.arange(0, D, 2, device=dev).float() / D))
    base = (unit(D) * 8).float(); a, b = base[: D // 2], base[D // 2:]
    band = torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1).to(torch.bfloat16)[:, None]
    q += band; k += band
    topics = unit(512, D) * 9; nb = (n + BLOCK - 1) // BLOCK
    of = torch.randint(0, 512, (nb, HK), device=dev, generator=g); on = torch.rand(nb, HK, device=dev, generator=g) < 0.125
    k += (topics[of] * on[..., None].to(k.dtype)).repeat_interleave(BLOCK, 0)[:n]
    ask = torch.randint(0, 512, (nb, H, 4), device=dev, generator=g)
    for i in range(0, nb, 256): q[i * BLOCK : (i + 256) * BLOCK] += (topics[ask[i : i + 256]].sum(2) / 2).repeat_interleave(BLOCK, 0)[: q[i * BLOCK : (i + 256) * BLOCK].shape[0]]
    return q, k, v

def sdpa(backend, q, k, v):
    def call():
        with sdpa_kernel(backend): return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1, enable_gqa=True)
    return call

def relative(a, b):
    """||a - b|| / ||b|| in slices, so that 512K tokens need no fp32 copy of everything."""
    num = den = 0.0
    for i in range(0, a.shape[0], 16384):
        x, y = a[i : i + 16384].float(), b[i : i + 16384].float()
        num += (x - y).square().sum().item(); den += y.square().sum().item()
    return (num / den) ** 0.5

def sampled_rows(q, k, samples=48):
    """(row, attention weights [H, row + 1]) of random query rows."""
    g = torch.Generator().manual_seed(7)
    for row in torch.randint(q.shape[0] // 8, q.shape[0], (samples,), generator=g).tolist():
        s = torch.einsum("kgd,nkd->kgn", q[row].float().view(HK, H // HK, D), k[: row + 1].float()).flatten(0, 1) * D ** -0.5
        yield row, torch.softmax(s, -1)

def kept_mass(prompt, q, k, read_mask=None):
    """Attention mass in listed blocks (mean, worst row), the most that as many blocks could hold (each row choosing its own), and the
    share of each row's best 1,000 keys: how peaked the data is."""
    halves = [prompt.listed()] * 2 if read_mask is None else [prompt.listed(read_mask[:, :, half]) for half in (0, 1)]
    shares, best, peaked = [], [], []
    for row, p in sampled_rows(q, k):
        keep = halves[row % BLOCK // 64][:, row // BLOCK]; own = row // BLOCK + 1
        blocks = F.pad(p, (0, own * BLOCK - row - 1)).view(H, own, BLOCK).sum(-1)
        shares.append((blocks * keep[:, :own]).sum(-1))
        order = blocks.sort(-1, descending=True).values.cumsum(-1)
        best.append(order.gather(1, keep.sum(-1, keepdim=True) - 1)[:, 0])
        peaked.append(p.topk(min(1000, row + 1), -1).values.sum(-1))
    shares = torch.stack(shares)
    return dict(recall=round(shares.mean().item(), 5), recall_worst=round(shares.min().item(), 5), recall_oracle=round(torch.stack(best).mean().item(), 5),
                top_1000_keys=round(torch.stack(peaked).mean().item(), 4))

def vertical_slash_mass(q, k, vertical, slash, last=64):
    """Attention mass that MInference's vertical-slash kernel would compute on this data: columns and diagonals chosen from the last 64
    queries as its paper says, diagonals widened to 64 keys for each 64 queries as its index does. Its speed is not measured here."""
    n = q.shape[0]; columns, diagonals = [], []
    for h in range(H):
        s = (q[-last:, h].float() @ k[:, h // (H // HK)].float().T) * D ** -0.5
        s[:, -last:].masked_fill_(~torch.ones(last, last, device=dev, dtype=torch.bool).tril(), -torch.inf)
        p = torch.softmax(s, -1); c = p.sum(0); c[:30] = torch.inf
        padded = torch.zeros(n, device=dev)                            # [d]: mass of keys d before their query
        for r in range(last): padded[: n - last + r + 1] += p[r, : n - last + r + 1].flip(0)
        padded[:100] = torch.inf
        columns.append(c.topk(vertical).indices); diagonals.append(padded.topk(slash).indices)
    shares = []
    for row, p in sampled_rows(q, k):
        end = (row // 64 + 1) * 64
        for h in range(H):
            keep = torch.zeros(end + 64, device=dev); keep[columns[h][columns[h] <= row]] = 1
            starts = (end - diagonals[h] - 64).clamp(min=0); starts = starts[end - diagonals[h] > 0]
            edge = torch.zeros(end + 65, device=dev); edge.index_add_(0, starts, torch.ones_like(starts, dtype=torch.float32))
            edge.index_add_(0, starts + 64, -torch.ones_like(starts, dtype=torch.float32))
            keep = (keep + edge.cumsum(0)[: end + 64]) > 0.5
            shares.append((p[h] * keep[: row + 1]).sum())
    return torch.stack(shares).mean().item()

def ceilings():
    x = torch.randn(1 << 30, device=dev, dtype=torch.bfloat16); y = torch.empty_like(x)
    times = []
    for _ in range(9):  # not as a graph: a captured copy is another kernel, and a slower one
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        start.record(); y.copy_(x); end.record(); torch.cuda.synchronize(); times.append(start.elapsed_time(end))
    copy = {"copy": sorted(times)[4]}; del x, y
    a, b = torch.randn(8192, 8192, device=dev, dtype=torch.bfloat16), torch.randn(8192, 8192, device=dev, dtype=torch.bfloat16)
    gemm, _ = timed_together({"gemm": lambda: a @ b}, 9, 3)
    emit(what="ceilings", **machine, copy_tb_s=round(4 * (1 << 30) / copy["copy"] / 1e9, 3), gemm_bf16_tflops=round(2 * 8192 ** 3 / gemm["gemm"] / 1e9, 1))
    return 4 * (1 << 30) / copy["copy"] / 1e9

copy_tb_s = ceilings()
for n in sizes:
    q, k, v = structured(n); flops = 2 * n * n * H * D
    prompt = Prompt(kernels, k, v, H); out = torch.full_like(q, float("nan")); big = n > 200000
    dense_ms = None
    if "dense" in parts or "sparse" in parts:
        peer = [x.transpose(0, 1).contiguous()[None] for x in (q, k, v)]
        calls = {"cudnn": sdpa(SDPBackend.CUDNN_ATTENTION, *peer), "longshore_dense": lambda: prompt.prefill(q, out)}
        if "dense" in parts and n <= 131072: calls["flash"] = sdpa(SDPBackend.FLASH_ATTENTION, *peer)
        prompt.prefill(q, out); torch.cuda.synchronize()
        error = relative(out, calls["cudnn"]()[0].transpose(0, 1))
        rounds = 1 if big else 5 if n > 100000 else 11
        ms, every = timed_together(calls, rounds, 0 if big else 2, 8 if n <= 8192 else 1); dense_ms = ms["cudnn"]
        emit(what="dense_prefill", tokens=n, data="structured", ms={a: round(b, 4) for a, b in ms.items()}, tflops={a: round(flops / b / 1e9) for a, b in ms.items()},
             of_cudnn=round(ms["cudnn"] / ms["longshore_dense"], 3), error_vs_cudnn=f"{error:.2e}", section_kv_heads=prompt.section, every=every)
        del peer; calls = None; torch.cuda.empty_cache()
    if "sparse" in parts:
        sparse_out = torch.empty_like(q); base = q
        for peak in ([2.0, 2.5] if big else [1.0, 2.0, 2.5]):
            q = base if peak == 1.0 else base * peak
            prompt.prefill(q, out)
            for alpha in ([0.02] if big else [0.02, 0.1]):
                sparse_out.fill_(float("nan"))
                calls = {"means": lambda: prompt.block_means(q), "energy": lambda: prompt.block_energy(q, alpha), "attention": lambda: prompt.prefill(q, sparse_out, True)}
                def whole():
                    for call in (calls["means"], calls["energy"], calls["attention"]): call()
                whole(); torch.cuda.synchronize()
                ms, every = timed_together({**calls, "whole": whole}, 3 if big else 7, 1, 8 if n <= 8192 else 1)
                density = prompt.count.sum().item() / (H * sum(b + 1 for b in range(prompt.blocks)))
                emit(what="block_energy_prefill", tokens=n, data="structured", peak=peak, alpha=alpha, ms={a: round(b, 4) for a, b in ms.items()}, density=round(density, 5),
                     blocks_per_tile=round(prompt.count.float().mean().item(), 2), **kept_mass(prompt, q, k),
                     over_cudnn_dense=round(dense_ms / ms["whole"], 2), error_vs_dense=f"{relative(sparse_out, out):.2e}",
                     kept_tflops=round(flops * density / ms["attention"] / 1e9), every=every)
                if alpha != 0.02: continue
                # The second look: the same index, but values are read only where some row of 64 gives the block tau of its mass.
                tau, read_count = 0.2, torch.full((H, prompt.tile_count, 2), -1, device=dev, dtype=torch.int32)
                read_mask = torch.zeros(H, prompt.tile_count, 2, prompt.words, device=dev, dtype=torch.int32)
                sparse_out.fill_(float("nan")); prompt.prefill(q, sparse_out, True, tau=tau, read_mask=read_mask, read_count=read_count); torch.cuda.synchronize()
                kept = kept_mass(prompt, q, k, read_mask); del read_mask
                calls = {"attention": lambda: prompt.prefill(q, sparse_out, True, tau=tau)}
                def whole_look():
                    prompt.block_means(q); prompt.block_energy(q, alpha); prompt.prefill(q, sparse_out, True, tau=tau)
                ms, every = timed_together({**calls, "whole": whole_look}, 3 if big else 7, 1, 8 if n <= 8192 else 1)
                emit(what="second_look_prefill", tokens=n, data="structured", peak=peak, alpha=alpha, tau=tau, ms={a: round(b, 4) for a, b in ms.items()},
                     density_scored=round(density, 5), density_read=round(read_count.sum().item() / (2 * H * sum(b + 1 for b in range(prompt.blocks))), 5), **kept,
                     over_cudnn_dense=round(dense_ms / ms["whole"], 2), error_vs_dense=f"{relative(sparse_out, out):.2e}", every=every)
            if "peers" in parts and 32768 <= n <= 131072:
                emit(what="minference_recall", tokens=n, peak=peak, recall={f"{a},{b}": round(vertical_slash_mass(q, k, a, b), 5) for a, b in ((1000, 6096), (100, 800), (3500, 100))})
        del sparse_out
    if "chunk" in parts and n == 131072:
        # The last 8K tokens of a long prompt whose other tokens are cached.
        start = n - 8192; chunk = Prompt(kernels, k, v, H, start); cq = (q if "sparse" not in parts else base)[start:].contiguous() * 2.5; cout = torch.full_like(cq, float("nan"))
        chunk.block_means(cq); chunk.block_energy(cq, 0.02); torch.cuda.synchronize()
        calls = {"dense": lambda: chunk.prefill(cq, cout), "energy": lambda: chunk.block_energy(cq, 0.02), "listed": lambda: chunk.prefill(cq, cout, True)}
        ms, every = timed_together(calls, 9, 2, 2); pairs = sum(range(start + 1, n + 1))
        emit(what="chunk_prefill", tokens=n, chunk=8192, data="structured", peak=2.5, alpha=0.02, ms={a: round(b, 4) for a, b in ms.items()}, dense_tflops=round(4 * pairs * H * D / ms["dense"] / 1e9),
             density=round(chunk.count.sum().item() / (H * sum(range(start // BLOCK + 1, n // BLOCK + 1))), 5), every=every)
        del chunk, cq, cout; calls = None
    base = None; last_query = q[-1:].clone(); del q, out; calls = None
    torch.cuda.empty_cache()
    if "decode" in parts:
        one = torch.randn(1, H, D, device=dev, dtype=torch.bfloat16); got = torch.full_like(one, float("nan")); decode = Decode(prompt)
        kp, vp = k.transpose(0, 1).contiguous()[None], v.transpose(0, 1).contiguous()[None]; qp = one.transpose(0, 1)[None].contiguous()
        calls = {"longshore_decode": lambda: decode(one, got), "cudnn": sdpa(SDPBackend.CUDNN_ATTENTION, qp, kp, vp), "flash": sdpa(SDPBackend.FLASH_ATTENTION, qp, kp, vp)}
        decode(one, got); torch.cuda.synchronize()
        exact = torch.softmax(torch.einsum("kgd,nkd->kgn", one[0].float().view(HK, H // HK, D), k.float()) * D ** -0.5, -1)
        error = relative(got, torch.einsum("kgn,nkd->kgd", exact, v.float()).reshape(1, H, D)); del exact
        ms, every = timed_together(calls, 11, 2, 10); nbytes = 2 * n * HK * D * 2
        emit(what="dense_decode", tokens=n, in_l2_cache=nbytes < 60e6, us={a: round(b * 1e3, 1) for a, b in ms.items()}, tb_s={a: round(nbytes / b / 1e9, 3) for a, b in ms.items()},
             of_copy=round(nbytes / ms["longshore_decode"] / 1e9 / copy_tb_s, 3), error=f"{error:.2e}")
        del kp, vp, qp; calls = None
    if "sketch" in parts and n >= 16384:
        # A step over a long context by key sketches, beside the dense step over the same keys; four sets of sketches in turn, as layers are.
        sketched, decode = SketchedDecode(prompt, 4), Decode(prompt)
        for peak in (1.0, 2.0):
            one = last_query * peak; got, dense = torch.full_like(one, float("nan")), torch.full_like(one, float("nan"))
            exact = torch.softmax(torch.einsum("kgd,nkd->kgn", one[0].float().view(HK, H // HK, D), k.float()) * D ** -0.5, -1)
            want = torch.einsum("kgn,nkd->kgd", exact, v.float()).reshape(1, H, D)
            for rescore in ((0.005, 0.02) if n <= 262144 else (0.005,)):  # past it the lists would not fit
                sketched(one, got, rescore); decode(one, dense); torch.cuda.synchronize()
                scored, kept = (x.item() for x in sketched.counts.float().mean(0))
                best = exact.topk(max(64, int(rescore * n)), -1).values.sum(-1).mean().item()
                calls = {"sketch": lambda: sketched(one, got, rescore), "scan": lambda: sketched(one, got, rescore, "scan"), "attend": lambda: sketched(one, got, rescore, "attend"),
                         "build": lambda: sketched.build(), "dense": lambda: decode(one, dense)}
                ms, every = timed_together(calls, 11, 2, 12)
                emit(what="sketch_decode", tokens=n, data="structured", peak=peak, rescore=rescore, us={a: round(b * 1e3, 1) for a, b in ms.items()}, over_dense=round(ms["dense"] / ms["sketch"], 2),
                     scan_bytes=prompt.blocks * prompt.kv_heads * sketched.entry, scan_of_copy=round(prompt.blocks * prompt.kv_heads * sketched.entry / ms["scan"] / 1e9 / copy_tb_s, 3),
                     keys_scored=round(scored), keys_kept=round(kept), best_keys_mass=round(best, 4), error=f"{relative(got, want):.2e}", dense_error=f"{relative(dense, want):.2e}", every=every)
        del sketched, decode, exact, want; calls = None
    del prompt, k, v; torch.cuda.empty_cache()
