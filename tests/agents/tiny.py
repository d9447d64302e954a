"""Tiny models and a tiny checkpoint for the tests of this folder."""

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from plateau_bench.agents.models.checkpoint import make_model, make_tokenizer

TEXTS = [
    f"{verb} the {which} numbers of a, then add {n}"
    for verb in ("keep", "drop")
    for which in ("even", "odd")
    for n in range(2, 9)
] + [f"def f(a):\n    return [x + {n} for x in a if x % 2 == {rest}]" for n in range(2, 9) for rest in (0, 1)]


def tiny_model(architecture: str, vocab: int = 40, positions: int = 64) -> PreTrainedModel:
    """Fresh weights with logits far enough apart that no test hangs on a tie."""
    shared = {"vocab_size": vocab, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    llama_like = shared | {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": positions,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if architecture == "llama":
            model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**llama_like))
        elif architecture == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**llama_like))
        elif architecture == "qwen2-sliding":
            sliding = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
            model = Qwen2ForCausalLM(Qwen2Config(**llama_like, **sliding))
        else:
            sizes = {
                "n_embd": 32,
                "n_layer": 2,
                "n_head": 4,
                "n_positions": positions,
                "initializer_range": 0.3,
            }
            model = GPT2LMHeadModel(GPT2Config(**shared, **sizes))
    return model.eval()


def tiny_checkpoint(seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A kata-like tokenizer and a fresh model of its size."""
    tokenizer = make_tokenizer(TEXTS, 160)
    model = make_model(tokenizer, hidden=32, layers=2, heads=2, ffn=48, context=128, seed=seed)
    return model.eval(), tokenizer
