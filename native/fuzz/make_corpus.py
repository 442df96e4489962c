"""Makes corpus/*: a few small valid inputs per fuzz target, so that mutation starts behind the magic numbers.

Run: python3 make_corpus.py        (needs the PyPI packages gguf, numpy and safetensors; made with gguf 0.19.0)
kv_object starts from test/golden/kv-object/*.bin instead.
"""
import json
import struct
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import save

OUT = Path(__file__).parent / "corpus"
rng = np.random.default_rng(7)
HIDDEN, HEADS, KV, HEAD, MLP, VOCAB = 32, 2, 1, 16, 32, 8


def write(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def weights():
    shapes = {
        "token_embd.weight": (VOCAB, HIDDEN), "output_norm.weight": (HIDDEN,), "blk.0.attn_norm.weight": (HIDDEN,), "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": (HEADS * HEAD, HIDDEN), "blk.0.attn_k.weight": (KV * HEAD, HIDDEN), "blk.0.attn_v.weight": (KV * HEAD, HIDDEN),
        "blk.0.attn_output.weight": (HIDDEN, HEADS * HEAD), "blk.0.ffn_gate.weight": (MLP, HIDDEN), "blk.0.ffn_up.weight": (MLP, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, MLP),
    }
    return {k: (rng.standard_normal(s) * 0.1).astype(np.float32) for k, s in shapes.items()}


def gguf_seed(name, kind, arch="llama", extra=lambda w: None):
    path = OUT / "gguf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(64)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(1)
    w.add_feed_forward_length(MLP)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_token_list([f"t{i}" for i in range(VOCAB - 1)] + ["<|im_end|>"])
    w.add_token_types([1] * (VOCAB - 1) + [3])
    w.add_eos_token_id(2)
    extra(w)
    for key, value in weights().items():
        if value.ndim == 1:
            w.add_tensor(key, value)
        else:
            w.add_tensor(key, gguf.quants.quantize(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def yarn(w):
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(64)


def every_type(w):
    w.add_uint8("x.u8", 1), w.add_int8("x.i8", -1), w.add_uint16("x.u16", 1), w.add_int16("x.i16", -1), w.add_uint64("x.u64", 1 << 40)
    w.add_int64("x.i64", -1), w.add_float64("x.f64", 0.5), w.add_bool("x.bool", True), w.add_array("x.floats", [0.5, 1.5]), w.add_array("x.bools", [True, False])
    w.add_custom_alignment(64)


gguf_seed("q4_0.gguf", Q.Q4_0)
gguf_seed("q8_0-yarn.gguf", Q.Q8_0, extra=yarn)
gguf_seed("q5_1-qwen3.gguf", Q.Q5_1, arch="qwen3", extra=every_type)

HF = {
    "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "blk.0.attn_norm.weight": "model.layers.0.input_layernorm.weight",
    "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight", "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
    "blk.0.attn_k.weight": "model.layers.0.self_attn.k_proj.weight", "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
    "blk.0.attn_output.weight": "model.layers.0.self_attn.o_proj.weight", "blk.0.ffn_gate.weight": "model.layers.0.mlp.gate_proj.weight",
    "blk.0.ffn_up.weight": "model.layers.0.mlp.up_proj.weight", "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
}
shard = save({HF[k]: v.astype(np.float16) for k, v in weights().items()}, metadata={"format": "pt"})
write("safetensors", "model.safetensors", shard)
write("safetensors", "two-types.safetensors", save({"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16)}))

config = {
    "model_type": "llama", "num_hidden_layers": 1, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": KV, "intermediate_size": MLP,
    "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "eos_token_id": 2,
}
llama3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
for name, more in {"plain": {}, "llama3": {"rope_parameters": llama3}, "yarn": {"rope_scaling": {"type": "yarn", "factor": 4}}}.items():
    text = json.dumps(config | more).encode()
    generation = b'{"eos_token_id":[2,3]}'
    write("hf_model", name, struct.pack("<HH", len(text), len(generation)) + text + generation + shard)
    write("json", f"config-{name}.json", text)
write("json", "values.json", b'{"a":[1,-2.5e3,true,false,null,"x\\n\\u00e9\\ud83d\\ude00"],"b":{"c":{}},"d":[]}')
write("json", "index.json", b'{"metadata":{"total_size":1},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}')
