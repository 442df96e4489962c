"""Logits of a random model of Llama-3-8B's shape, cut to four layers: the engine on the card against PyTorch in f32.

Usage: llama_logits.py <longshore-native> [tokens]. Writes the model (bf16, 3.8 GB) to a temporary folder, prints one JSON line and
exits 1 when the relative error reaches 2e-2.
"""
import json, os, subprocess, sys, tempfile
import numpy, torch
import torch.nn.functional as F
from safetensors.torch import save_file

L, D, H, HK, HD, FF, V, THETA, EPS = 4, 4096, 32, 8, 128, 14336, 128256, 5e5, 1e-5
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False
tokens_wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
dev = "cuda"


def weight(rows, cols):
    return (torch.randn(rows, cols, device=dev) * 0.02).to(torch.bfloat16)


def gain():
    return (1 + 0.1 * torch.randn(D, device=dev)).to(torch.bfloat16)


def make_model():
    tensors = {"model.embed_tokens.weight": weight(V, D), "lm_head.weight": weight(V, D), "model.norm.weight": gain()}
    for i in range(L):
        at = f"model.layers.{i}."
        tensors |= {at + "input_layernorm.weight": gain(), at + "post_attention_layernorm.weight": gain(),
                    at + "self_attn.q_proj.weight": weight(H * HD, D), at + "self_attn.k_proj.weight": weight(HK * HD, D),
                    at + "self_attn.v_proj.weight": weight(HK * HD, D), at + "self_attn.o_proj.weight": weight(D, H * HD),
                    at + "mlp.gate_proj.weight": weight(FF, D), at + "mlp.up_proj.weight": weight(FF, D), at + "mlp.down_proj.weight": weight(D, FF)}
    return tensors


def norm(x, g):
    f = x.float()
    return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype) * g


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def logits(tensors, tokens, dtype):
    w = lambda name: tensors[name].to(dtype)
    x, n = w("model.embed_tokens.weight")[tokens], len(tokens)
    angle = torch.arange(n, device=dev).float()[:, None] * (1.0 / THETA ** (torch.arange(0, HD, 2, device=dev).float() / HD))
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    mask = torch.full((n, n), float("-inf"), device=dev).triu(1)
    for i in range(L):
        at = f"model.layers.{i}."
        y = norm(x, w(at + "input_layernorm.weight"))
        heads = lambda name, count: (y @ w(at + f"self_attn.{name}_proj.weight").T).view(n, count, HD).transpose(0, 1)
        q, k, v = rotate(heads("q", H), cos, sin), rotate(heads("k", HK), cos, sin), heads("v", HK)
        k, v = k.repeat_interleave(H // HK, 0), v.repeat_interleave(H // HK, 0)
        attended = torch.softmax((q @ k.transpose(1, 2)).float() * HD ** -0.5 + mask, -1).to(dtype) @ v
        x = x + attended.transpose(0, 1).reshape(n, H * HD) @ w(at + "self_attn.o_proj.weight").T
        y = norm(x, w(at + "post_attention_layernorm.weight"))
        x = x + (F.silu(y @ w(at + "mlp.gate_proj.weight").T) * (y @ w(at + "mlp.up_proj.weight").T)) @ w(at + "mlp.down_proj.weight").T
    return norm(x, w("model.norm.weight")) @ w("lm_head.weight").T


with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    tensors = make_model()
    save_file({name: t.cpu() for name, t in tensors.items()}, folder + "/model.safetensors")
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=V, hidden_size=D, intermediate_size=FF, num_hidden_layers=L,
                  num_attention_heads=H, num_key_value_heads=HK, head_dim=HD, max_position_embeddings=131072, rope_theta=THETA, rms_norm_eps=EPS,
                  hidden_act="silu", attention_bias=False, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
    json.dump(config, open(folder + "/config.json", "w"))
    tokens = torch.randint(0, V, (tokens_wanted,), device=dev)
    want = logits(tensors, tokens, torch.float32).cpu().double()
    peer = logits(tensors, tokens, torch.bfloat16).cpu().double()
    del tensors
    torch.cuda.empty_cache()
    open(folder + "/tokens", "w").write(" ".join(map(str, tokens.tolist())))
    subprocess.run([sys.argv[1], "logits", "--backend", "cuda", "--model", folder, "--tokens", folder + "/tokens", "--out", folder + "/logits"], check=True,
                   stdout=subprocess.DEVNULL)
    got = torch.from_numpy(numpy.fromfile(folder + "/logits", dtype=numpy.float32)).view(tokens_wanted, V).double()
error = ((got - want).norm() / want.norm()).item()
peer_error = ((peer - want).norm() / want.norm()).item()
print(json.dumps(dict(check="logits of 4 layers of the 8B shape against PyTorch f32", tokens=tokens_wanted, relative_error=round(error, 5), of_pytorch_bf16=round(peer_error, 5),
                      worst_row=round(((got - want).norm(dim=1) / want.norm(dim=1)).max().item(), 5), same_best=round((got.argmax(1) == want.argmax(1)).double().mean().item(), 4))))
sys.exit(not error < 2e-2)
