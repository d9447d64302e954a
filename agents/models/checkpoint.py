"""Small checkpoints from nothing: a tokenizer trained on given texts and fresh Llama weights.

For machines where no weights can be downloaded. The result is an ordinary Hugging Face folder.
"""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

PAD, USER, ASSISTANT, SYSTEM, END, UNKNOWN = (
    f"<|{name}|>" for name in ("pad", "user", "assistant", "system", "end", "unk")
)
SPECIAL = (PAD, USER, ASSISTANT, SYSTEM, END, UNKNOWN)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' }}"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message.content + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""<|user|>text<|end|><|assistant|>code<|end|>; the assistant's part, end token included, is marked."""


TOOL, CALL, ARGUMENT = (f"<|{name}|>" for name in ("tool", "call", "arg"))
TOOL_TEMPLATE = CHAT_TEMPLATE.replace(
    "{{ message.content + '<|end|>' }}{% endgeneration %}",
    "{{ message.content }}{% for call in message.tool_calls or [] %}{{ '<|call|>' + call.function.name }}"
    "{% for key, value in call.function.arguments.items() %}{{ '<|arg|>' + key + '=' + value | string }}"
    "{% endfor %}{% endfor %}{{ '<|end|>' }}{% endgeneration %}",
)
"""As CHAT_TEMPLATE, with an assistant's calls: <|call|>bash<|arg|>command=ls<|end|>; results are <|tool|>."""
RESPONSE_TEMPLATE = {
    "start_anchor": ASSISTANT,
    "fields": {
        "tool_calls": {
            "open_pattern": r"<\|call\|>(?P<name>\w+)",
            "close_pattern": r"(?=<\|call\|>)",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": r"<\|arg\|>(?P<key>\w+)=(?P<value>.*?)(?=<\|arg\|>|\Z)",
            },
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"content": "text"},
    },
}
"""How to read such calls back: transformers' response parsing."""


STABLE = (
    r"\A\w+= *",  # the name of an argument; what follows is written as in any other place
    r"\w+(?=\.py\b)|\.py\b|(?<=\bfrom )\w+(?= import)",
    r"[A-Za-z]+(?=_)|_[A-Za-z]+",
    r"[\n\t] *",
)
"""What is a token of its own with tools, so that what has to be copied looks alike everywhere: the stems of
file names, also in imports, the halves of snake_case names, indentation after a line break and after the tab
of a numbered line."""


def make_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 768,
    *,
    context: int = 512,
    tools: bool = False,
    whole: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """Byte-pair encoding whose tokens may span words, split only before newlines and around digits.

    Whole idioms (" for x in a") become one token, which shortens samples of a narrow domain; digits stay
    single so that constants can be copied. Printable ASCII, tabs, newlines and every character of `texts`
    survive encode and decode unchanged; bytes never seen become <|unk|>. The same texts give the same file.
    `tools` adds what tool calls need to the vocabulary and to the chat template, and splits at `STABLE`.
    Each text of `whole` is one token (a system prompt that opens every conversation), beyond `vocab_size`.
    Raises ValueError if `vocab_size` has no room for the alphabet.
    """
    special = [*SPECIAL, *([TOOL, CALL, ARGUMENT] if tools else [])]
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[0-9]"), "isolated"),
            pre_tokenizers.Split(Regex("\n"), "merged_with_next"),
            *[pre_tokenizers.Split(Regex(one), "isolated") for one in STABLE if tools],
            to_bytes,
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    printable = (chr(code) for code in (9, 10, *range(32, 127)))
    alphabet = sorted({to_bytes.pre_tokenize_str(char)[0][0] for char in printable})
    least = len(alphabet) + len(special)
    if vocab_size < least:
        raise ValueError(f"vocab_size {vocab_size} is too small: the alphabet alone needs {least}")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[one for one in special if one not in (PAD, END, UNKNOWN)],
        padding_side="left",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TOOL_TEMPLATE if tools else CHAT_TEMPLATE
    if tools:
        fast.response_template = RESPONSE_TEMPLATE
    fast.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return fast


def make_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden: int = 96,
    layers: int = 3,
    heads: int = 3,
    ffn: int = 256,
    context: int = 512,
    std: float = 0.02,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A Llama with fresh weights and tied embeddings, in training mode; the global random state is kept.

    Weights are normal with this standard deviation. transformers' .02 is meant for widths of some thousands:
    narrow models learn to copy from their prompt much sooner with about 1 / sqrt(hidden).
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=context,
        initializer_range=std,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return model.train()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write an ordinary Hugging Face checkpoint folder; it is there completely or not at all.

    Raises ValueError if `folder` exists.
    """
    if folder.exists():
        raise ValueError(f"checkpoint folder {folder} exists; remove it or choose another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        unfinished.chmod(0o755)  # mkdtemp makes it private; a checkpoint is as readable as its parent
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
