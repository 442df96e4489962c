"""Makes tiny/*: random models of every supported family and RoPE scaling, with the f32 logits that transformers computes.

Run: python3 make_tiny_models.py [NAME ...]     (all, or the named ones; made with torch 2.15.0, transformers 5.23.0, gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0)

Folders  tiny/llama, llama-linear, llama-llama3, llama-yarn, mistral-untied, qwen2-sharded, qwen3, gemma3, gemma3-scaled (safetensors)
Files    tiny/llama.gguf          the twin of tiny/llama: same weights, Q and K rows permuted, BF16 matrices
         tiny/llama-llama3.gguf   likewise, with rope_freqs.weight
         tiny/gemma3.gguf         likewise the twin of tiny/gemma3, with its norms' weights plus one
         tiny/llama-quantized.gguf  one layer, each matrix of another quantized type; its logits are those of the dequantized weights
Beside each: NAME.golden.json {"prompts": [{"tokens": [...], "positions": [...]}]} and NAME.golden.safetensors, whose tensor
"logits.<i>" [positions, vocab] F32 holds the logits after tokens[0..position] of prompt i.

Weights are far from the usual initialization (norms around 1, biases around 0, attention logits of a few units), so that a wrong
rotation, a missing bias or a swapped head moves the logits by much more than the tolerance of 1e-3.
"""
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

OUT = Path(__file__).parent / "tiny"
VOCAB = 160
SHAPE = dict(
    vocab_size=VOCAB, hidden_size=64, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)
THETA = 10000.0


def randomize(model, seed, dtype):
    """Sets every weight to a random value that `dtype` holds exactly; the model itself stays f32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=generator)
            if name.endswith("norm.weight"):
                r = (0 if model.config.model_type == "gemma3_text" else 1) + 0.3 * r  # Gemma stores w - 1
            elif name.endswith("bias"):
                r = 0.5 * r
            else:
                r = r * (1.5 if "q_proj" in name or "k_proj" in name else 1.0) / p.shape[-1] ** 0.5
                if "embed_tokens" in name:
                    r = r * 4
            p.copy_(r.to(dtype).float())


def prompts(seed):
    """A short prompt, and one that spans three blocks of 128 tokens."""
    rng = np.random.default_rng(seed)
    long = rng.integers(3, VOCAB, 300)
    short = rng.integers(3, VOCAB, 9)
    return [
        dict(tokens=[int(t) for t in short], positions=list(range(9))),
        dict(tokens=[int(t) for t in long], positions=[0, 63, 127, 128, 200, 255, 256, 299]),
    ]


@torch.no_grad()
def write_golden(name, model, cases):
    logits = {}
    for i, case in enumerate(cases):
        out = model(torch.tensor([case["tokens"]])).logits[0]
        logits[f"logits.{i}"] = out[case["positions"]].float().contiguous()
    (OUT / f"{name}.golden.json").write_text(json.dumps({"prompts": cases}, separators=(",", ":")) + "\n")
    save_file(logits, OUT / f"{name}.golden.safetensors")
    spread = torch.cat(list(logits.values())).std()
    print(f"{name}: logits' standard deviation {spread:.2f}")


def build(config, seed, dtype):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    randomize(model, seed, dtype)
    return model


def write_folder(name, model, dtype, shards=1):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.config.dtype = str(dtype).removeprefix("torch.")
    model.config.save_pretrained(folder)
    state = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    keys = list(state)
    index = {}
    for i in range(shards):
        part = {k: state[k] for k in keys[i::shards]}
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        index.update({k: file for k in part})
    size = sum(v.nbytes for v in state.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=1, sort_keys=True) + "\n")


GGUF_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


GGUF_NAMES_OF_GEMMA3 = GGUF_NAMES | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}


def gguf_name(hf, names=GGUF_NAMES):
    hf = hf.removeprefix("model.")
    if not hf.startswith("layers."):
        return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[hf]
    _, layer, rest = hf.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{names[part]}.{kind}"


def permute(rows, heads):
    """Half-split to interleaved RoPE order, as llama.cpp's converter permutes Llama's Q and K."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def gguf_writer(path, config, theta):
    gemma3 = config.model_type == "gemma3_text"
    w = gguf.GGUFWriter(path, "gemma3" if gemma3 else "llama")
    w.add_name(path.stem)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if gemma3:
        w.add_key_length(config.head_dim)
        w.add_value_length(config.head_dim)
        w.add_sliding_window(config.sliding_window)
    else:
        w.add_rope_dimension_count(config.head_dim)
    w.add_rope_freq_base(theta)
    w.add_vocab_size(config.vocab_size)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    w.add_token_types([1] * config.vocab_size)
    w.add_token_merges(["t 0"])
    w.add_bos_token_id(config.bos_token_id)
    w.add_eos_token_id(config.eos_token_id)
    return w


def finish_gguf(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama3_divisors(config):
    """What llama.cpp's converter stores as rope_freqs.weight: each frequency's divisor."""
    p = config.rope_parameters
    frequencies = 1.0 / p["rope_theta"] ** (np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    low = p["original_max_position_embeddings"] / p["low_freq_factor"]
    high = p["original_max_position_embeddings"] / p["high_freq_factor"]
    out = []
    for wavelength in 2 * np.pi / frequencies:
        if wavelength < high:
            out.append(1.0)
        elif wavelength > low:
            out.append(p["factor"])
        else:
            smooth = (p["original_max_position_embeddings"] / wavelength - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
            out.append(1 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_gguf_twin(name, model):
    config = model.config
    gemma3 = config.model_type == "gemma3_text"
    w = gguf_writer(OUT / f"{name}.gguf", config, (config.rope_parameters["full_attention"] if gemma3 else config.rope_parameters)["rope_theta"])
    if not gemma3 and config.rope_parameters["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(config))
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = value.numpy()
        if not gemma3 and (".q_proj." in key or ".k_proj." in key):
            array = permute(array, config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads)
        canonical = gguf_name(key, GGUF_NAMES_OF_GEMMA3 if gemma3 else GGUF_NAMES)
        if array.ndim == 1:
            w.add_tensor(canonical, array + 1 if gemma3 else array)
        else:
            w.add_tensor(canonical, gguf.quants.quantize(array, Q.BF16), raw_dtype=Q.BF16)
    finish_gguf(w)


QUANTIZED = {
    "attn_q": Q.Q4_K, "attn_k": Q.Q5_K, "attn_v": Q.Q6_K, "attn_output": Q.Q5_0, "ffn_gate": Q.Q5_1, "ffn_up": Q.Q4_0, "ffn_down": Q.Q4_1,
    "token_embd": Q.Q8_0, "output": Q.F16,
}
# f16 scale fields of the K-quants, which the gguf package reads but does not write: such rows are random bytes under sane scales.
K_SCALES = {Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}


def random_k_quant(shape, kind, rng):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)
    for i, offset in enumerate(K_SCALES[kind]):
        # Weights around 1/16 = 1 / sqrt(256): scale x 6-bit sub-scale x quant - minimum.
        centre = {Q.Q4_K: (2.2e-4, 1.7e-3), Q.Q5_K: (1.1e-4, 1.7e-3), Q.Q6_K: (4e-5,)}[kind][i]
        scale = (centre * rng.uniform(0.5, 1.5, len(blocks))).astype(np.float16)
        blocks[:, offset : offset + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(shape[0], -1)


def write_quantized(name, model, seed):
    """Writes the GGUF file and puts the dequantized weights back into the model, so that its logits are the file's."""
    config = model.config
    rng = np.random.default_rng(seed)
    w = gguf_writer(OUT / f"{name}.gguf", config, THETA)
    for key, value in model.state_dict().items():
        canonical = gguf_name(key)
        if value.ndim == 1:
            w.add_tensor(canonical, value.numpy())
            continue
        kind = QUANTIZED[canonical.removeprefix("blk.0.").removesuffix(".weight")]
        if kind in K_SCALES:
            stored = random_k_quant(value.shape, kind, rng)
        else:
            stored = gguf.quants.quantize(value.numpy(), kind)
        w.add_tensor(canonical, stored, raw_dtype=kind)
        weights = gguf.quants.dequantize(stored, kind).astype(np.float32)
        if ".q_proj." in key or ".k_proj." in key:
            # The file's order is the interleaved one; transformers wants half-split.
            heads = config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads
            weights = weights.reshape(heads, weights.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weights.shape)
        with torch.no_grad():
            value.copy_(torch.from_numpy(weights.copy()))
    finish_gguf(w)


def main():
    OUT.mkdir(exist_ok=True)
    plain = {"rope_type": "default", "rope_theta": THETA}
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    models = {
        "llama": (LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=plain), bf16),
        "llama-linear": (LlamaConfig(**SHAPE | dict(num_hidden_layers=1), tie_word_embeddings=True, rope_parameters={"rope_type": "linear", "rope_theta": THETA, "factor": 4.0}), f32),
        "llama-llama3": (LlamaConfig(**SHAPE | dict(num_hidden_layers=1), tie_word_embeddings=True, rope_parameters={"rope_type": "llama3", "rope_theta": THETA, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}), bf16),
        "llama-yarn": (LlamaConfig(**SHAPE | dict(num_hidden_layers=1), tie_word_embeddings=True, rope_parameters={"rope_type": "yarn", "rope_theta": THETA, "factor": 8.0, "original_max_position_embeddings": 64}), bf16),
        "mistral-untied": (MistralConfig(**SHAPE | dict(num_key_value_heads=1, sliding_window=None), head_dim=16, tie_word_embeddings=False, rope_parameters=plain), f16),
        "qwen2-sharded": (Qwen2Config(**SHAPE, tie_word_embeddings=False, use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), bf16),
        "qwen3": (Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True, use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), bf16),
    }
    # Seven layers of the period that llama.cpp takes for granted, so that one sees everything; windows of 40 begin and end inside
    # blocks. The scaled one has a query scale other than the head_dim's, for which GGUF has no key.
    gemma3 = dict(SHAPE, hidden_size=48, num_hidden_layers=7, num_key_value_heads=1, head_dim=32, sliding_window=40, tie_word_embeddings=True)
    scaled = {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, "sliding_attention": {"rope_type": "default", "rope_theta": THETA}}
    models["gemma3"] = (Gemma3TextConfig(**gemma3, query_pre_attn_scalar=32), bf16)
    models["gemma3-scaled"] = (Gemma3TextConfig(**gemma3 | dict(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"]), query_pre_attn_scalar=20, rope_parameters=scaled), f32)
    wanted = set(sys.argv[1:])
    for seed, (name, (config, dtype)) in enumerate(models.items(), start=1):
        if wanted and name not in wanted:
            continue
        model = build(config, seed, dtype)
        write_folder(name, model, dtype, shards=2 if name == "qwen2-sharded" else 1)
        write_golden(name, model, prompts(seed))
        if name in ("llama", "llama-llama3", "gemma3"):
            write_gguf_twin(name, model)
    if wanted and "llama-quantized" not in wanted:
        return
    quantized = LlamaConfig(**SHAPE | dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, vocab_size=96), tie_word_embeddings=False, rope_parameters=plain)
    model = build(quantized, 99, f16)
    write_quantized("llama-quantized", model, 99)
    cases = [dict(c, tokens=[t % 96 for t in c["tokens"]]) for c in prompts(99)]
    write_golden("llama-quantized", model, cases)


main()
