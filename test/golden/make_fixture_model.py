"""Makes infra/fixture-model: a complete Hugging Face folder (llama, 0.3 MB) with random weights, for when no model source answers.

Run: python3 make_fixture_model.py      (made with torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, safetensors 0.8.0)

Everything that a chat model has is there: byte-level BPE tokenizer trained on the prompts and the demo's text, chat template, generation
config, 8,192 tokens of context. What it says is noise; that the platform starts, streams, stores and resumes is not.
"""
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "infra" / "fixture-model"
TEXTS = sorted((HERE / "prompts").glob("*.txt")) + sorted((HERE.parent / "demo" / "text").glob("*.md"))
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB = 1024
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[AddedToken(t, special=True) for t in SPECIAL], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([p.read_text() for p in TEXTS], trainer)
    return tokenizer


def build_model():
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=8192,
        rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )
    config.dtype = "bfloat16"
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith("norm.weight"):
                p.copy_(torch.randn(p.shape) * (4 if "embed" in name else 1) / p.shape[-1] ** 0.5)
    return config, {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}


def write_json(name, value):
    (OUT / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir(parents=True)
tokenizer = train_tokenizer()
assert tokenizer.get_vocab_size() == VOCAB, "the texts are too small for this vocabulary"
tokenizer.save(str(OUT / "tokenizer.json"), pretty=False)
config, state = build_model()
config.save_pretrained(OUT)
save_file(state, OUT / "model.safetensors", metadata={"format": "pt"})
write_json("generation_config.json", {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": 0})
write_json("tokenizer_config.json", {
    "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, "bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0],
    "add_bos_token": False, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE,
})
(OUT / "README.md").write_text(
    "# The fixture model\n\nA Llama of 0.15 million random bf16 weights with its own tokenizer and chat template, made by\n"
    "`test/golden/make_fixture_model.py`. The platform starts with it when no model source can be reached; its answers are noise.\n"
)
for path in sorted(OUT.iterdir()):
    print(path.name, path.stat().st_size)
