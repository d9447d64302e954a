# ruff: noqa: E501 (a line of a template is a line)
"""Tiny checkpoints of the structure of published families: own templates and tokenizers, nothing copied.

Each writes what it is told to: its next token is looked up in a chain, in which each text is one token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What sets the checkpoints of a family apart."""

    template: str
    special: tuple[str, ...]
    """Tokens of the template, the end of text first."""
    end: str
    """What ends a turn."""
    call: str = ""
    """A call of bash as the family writes it, with COMMAND in it; none where it has no tools."""
    call_end: str = ""
    """What ends a turn with calls, where it is something else."""
    eos: str = ""
    """tokenizer.eos_token, where it does not end a turn."""
    configured: tuple[str, ...] = ()
    """eos_token_id of the generation config beside it."""
    system: bool = True
    two_calls: bool = True
    pad: bool = False
    metaspace: bool = False
    """A tokenizer that writes spaces as ▁ and drops the first on decoding, as sentencepiece does."""
    opens: str = ""
    """Reasoning that the generation prompt begins."""
    config: dict[str, Any] = field(default_factory=dict)


_CALL_JSON = '{"name": "{{ c.function.name }}", "{key}": {{ c.function.arguments | tojson }}}'
_TOOLS = "{%- if tools %}{{ tools | tojson }}\n{%- endif %}"

CHATML = (
    "{%- if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}"
    "# Tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n"
    "{%- elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n"
    "{%- endif %}"
    "{%- for m in messages %}{%- if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
    "{%- elif m.role == 'assistant' %}<|im_start|>assistant\n{{ CONTENT }}"
    "{%- for c in m.tool_calls or [] %}{% if not loop.first or m.content %}\n{% endif %}CALL{%- endfor %}<|im_end|>\n"
    "{%- elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_HERMES = "<tool_call>\n" + _CALL_JSON.replace("{key}", "arguments") + "\n</tool_call>"
_CODER = (
    "<tool_call>\n<function={{ c.function.name }}>\n{% for k, v in c.function.arguments.items() %}"
    "<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
)
_LAST_USER = (
    "{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
)
_QWEN3_CONTENT = (
    "'<think>\n' + m.content.split('</think>')[0].split('<think>')[-1].strip() + '\n</think>\n\n'"
    " + m.content.split('</think>')[-1].lstrip('\n') if '</think>' in m.content and loop.index0 > ns.last"
    " else ('<think>\n\n</think>\n\n' + m.content if loop.last and loop.index0 > ns.last"
    " else m.content.split('</think>')[-1].lstrip('\n'))"
)
_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

FAMILIES = {
    "qwen2.5": Family(
        template=CHATML.replace("CONTENT", "m.content").replace("CALL", _HERMES),
        special=_IM,
        end="<|im_end|>",
        pad=True,
        call='<tool_call>\n{"name": "bash", "arguments": {"command": "COMMAND"}}\n</tool_call>',
    ),
    "qwen-base": Family(  # the tokenizer's eos is that of a text, and no generation config says otherwise
        template=CHATML.replace("CONTENT", "m.content").replace("CALL", _HERMES),
        special=_IM,
        end="<|im_end|>",
        eos="<|endoftext|>",
        call='<tool_call>\n{"name": "bash", "arguments": {"command": "COMMAND"}}\n</tool_call>',
    ),
    "qwen3": Family(
        template=_LAST_USER + CHATML.replace("CONTENT", _QWEN3_CONTENT).replace("CALL", _HERMES),
        special=_IM,
        end="<|im_end|>",
        configured=("<|im_end|>", "<|endoftext|>"),
        call='<think>\nI look.\n</think>\n\n<tool_call>\n{"name": "bash", "arguments": {"command": "COMMAND"}}\n</tool_call>',
    ),
    "qwen3-coder": Family(
        template=CHATML.replace("CONTENT", "m.content").replace("CALL", _CODER),
        special=_IM,
        end="<|im_end|>",
        call="<tool_call>\n<function=bash>\n<parameter=command>\nCOMMAND\n</parameter>\n</function>\n</tool_call>",
    ),
    "llama3": Family(
        template=(
            "<|begin_of_text|>{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}"
            "{% set messages = messages[1:] %}{%- else %}{% set system = '' %}{%- endif %}"
            "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n"
            "{{ system | trim }}<|eot_id|>"
            "{%- if tools %}<|start_header_id|>user<|end_header_id|>\n\nGiven functions:\n\n"
            "{% for t in tools %}{{ t | tojson }}\n\n{% endfor %}{{ messages[0].content | trim }}<|eot_id|>"
            "{% set messages = messages[1:] %}{%- endif %}"
            "{%- for m in messages %}{%- if m.tool_calls %}{%- if m.tool_calls | length != 1 %}"
            "{{ raise_exception('This model only supports single tool-calls at once!') }}{%- endif %}"
            "{%- set c = m.tool_calls[0] %}<|start_header_id|>assistant<|end_header_id|>\n\n"
            + _CALL_JSON.replace("{key}", "parameters")
            + "<|eot_id|>"
            "{%- elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
            "{%- else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{%- endif %}"
            "{%- endfor %}{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
        ),
        special=(
            "<|end_of_text|>",
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        end="<|eot_id|>",
        configured=("<|end_of_text|>", "<|eot_id|>"),
        two_calls=False,
        call='{"name": "bash", "parameters": {"command": "COMMAND"}}',
    ),
    "mistral": Family(
        template=(
            "{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
            "{%- endif %}{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}<s>"
            "{%- for m in messages %}{%- if m.role == 'user' %}"
            "{%- if tools and m == users[-1] %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{%- endif %}"
            "{%- if loop.last and system is defined %}[INST] {{ system }}\n\n{{ m.content }}[/INST]"
            "{%- else %}[INST] {{ m.content }}[/INST]{%- endif %}"
            "{%- elif m.tool_calls %}[TOOL_CALLS] [{%- for c in m.tool_calls %}"
            "{%- if c.id is not defined or c.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{%- endif %}"
            '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
            "{{ ', ' if not loop.last else ']</s>' }}{%- endfor %}"
            "{%- elif m.role == 'assistant' %} {{ m.content }}</s>"
            "{%- elif m.role == 'tool' %}{%- if m.tool_call_id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{%- endif %}"
            '[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]'
            "{%- else %}{{ raise_exception('Only user and assistant roles are supported') }}{%- endif %}{%- endfor %}"
        ),
        special=(
            "</s>",
            "<s>",
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        end="</s>",
        metaspace=True,
        call='[TOOL_CALLS] [{"name": "bash", "arguments": {"command": "COMMAND"}, "id": "abcdefghi"}]',
    ),
    "gemma": Family(
        template=(
            "<bos>{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{%- endif %}"
            "{%- for m in messages %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
            "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
            "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
            "{%- endfor %}{%- if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
        ),
        special=("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        end="<end_of_turn>",
        eos="<eos>",
        system=False,
    ),
    "phi3": Family(
        template=(
            "{%- for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{%- endfor %}"
            "{%- if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
        ),
        special=("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
        end="<|end|>",
        eos="<|endoftext|>",
        configured=("<|endoftext|>", "<|end|>"),
    ),
    "phi4-mini": Family(
        template=(
            "{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}{%- if m.role == 'system' and tools %}"
            "<|tool|>{{ tools | tojson }}<|/tool|>{%- endif %}{%- if m.tool_calls %}<|tool_call|>["
            "{%- for c in m.tool_calls %}"
            + _CALL_JSON.replace("{key}", "arguments")
            + "{{ ', ' if not loop.last }}{%- endfor %}"
            "]<|/tool_call|>{%- endif %}<|end|>{%- endfor %}{%- if add_generation_prompt %}<|assistant|>{% endif %}"
        ),
        special=(
            "<|endoftext|>",
            "<|end|>",
            "<|user|>",
            "<|assistant|>",
            "<|system|>",
            "<|tool|>",
            "<|/tool|>",
            "<|tool_call|>",
            "<|/tool_call|>",
        ),
        end="<|end|>",
        eos="<|endoftext|>",
        call='<|tool_call|>[{"name": "bash", "arguments": {"command": "COMMAND"}}]<|/tool_call|>',
    ),
    "deepseek": Family(  # arguments are added to text, so they have to be JSON already
        template=(
            "<｜begin▁of▁sentence｜>{%- if messages[0].role == 'system' %}{{ messages[0].content }}{%- endif %}"
            "{%- for m in messages %}{%- if m.role == 'user' %}<｜User｜>{{ m.content }}"
            "{%- elif m.role == 'assistant' and m.tool_calls %}<｜Assistant｜>{{ m.content }}<｜tool▁calls▁begin｜>"
            "{%- for c in m.tool_calls %}<｜tool▁call▁begin｜>function<｜tool▁sep｜>"
            "{{ c.function.name + '\n```json\n' + c.function.arguments + '\n```' }}<｜tool▁call▁end｜>{%- endfor %}"
            "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
            "{%- elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>"
            "{%- elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>{%- endif %}{%- endfor %}"
            "{%- if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
        ),
        special=(
            "<｜end▁of▁sentence｜>",
            "<｜begin▁of▁sentence｜>",
            "<｜User｜>",
            "<｜Assistant｜>",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁end｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁output▁begin｜>",
            "<｜tool▁output▁end｜>",
        ),
        end="<｜end▁of▁sentence｜>",
        opens="<think>\n",
        call='I look.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>bash\n```json\n{"command": "COMMAND"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    "gpt-oss": Family(
        template=(
            "<|start|>system<|message|>Reasoning: medium<|end|>"
            "{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{%- endif %}"
            "{%- if system is defined or tools %}<|start|>developer<|message|>{{ system }}{% if tools %}\n# Tools\n{{ tools | tojson }}{% endif %}<|end|>{%- endif %}"
            "{%- set ns = namespace(name='') %}"
            "{%- for m in messages %}{%- if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
            "{%- elif m.tool_calls %}{%- if m.tool_calls | length != 1 %}{{ raise_exception('Only one tool call per message') }}{%- endif %}"
            "{%- if m.content %}<|start|>assistant<|channel|>analysis<|message|>{{ m.content }}<|end|>{%- endif %}"
            "{%- set c = m.tool_calls[0].function %}{%- set ns.name = c.name %}"
            "<|start|>assistant to=functions.{{ c.name }}<|channel|>commentary json<|message|>{{ c.arguments | tojson }}<|call|>"
            "{%- elif m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
            "{%- elif m.role == 'tool' %}<|start|>functions.{{ ns.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>"
            "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}<|start|>assistant{% endif %}"
        ),
        special=(
            "<|endoftext|>",
            "<|start|>",
            "<|message|>",
            "<|end|>",
            "<|channel|>",
            "<|call|>",
            "<|return|>",
            "<|constrain|>",
        ),
        end="<|return|>",
        call_end="<|call|>",
        eos="<|return|>",
        configured=("<|return|>", "<|endoftext|>", "<|call|>"),
        two_calls=False,
        call='<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.bash <|constrain|>json<|message|>{"command": "COMMAND"}',
    ),
    "zephyr": Family(
        template=(
            "{%- for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{%- endfor %}"
            "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}"
        ),
        special=("</s>", "<s>"),
        end="</s>",
        metaspace=True,
    ),
}
WITH_TOOLS = sorted(name for name, family in FAMILIES.items() if family.call)


def tokenizer_of(name: str, texts: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer over bytes or characters, with the family's special tokens and each of `texts` as one token."""
    family = FAMILIES[name]
    if family.metaspace:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = ["▁", "\n", "\t", *map(chr, range(33, 127))]
        special = ["<unk>", *family.special]
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        special = list(family.special)
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(special),
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([], trainer)
    eos = family.eos or family.end
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=[one for one in special if one != eos],
        **({"pad_token": family.special[0]} if family.pad else {}),
    )
    fast.add_tokens([AddedToken(text, normalized=False, special=False) for text in texts])
    fast.chat_template = family.template
    return fast


def says(
    name: str, answers: Sequence[str], *, context: int = 4096, spare: int = 5
) -> tuple[PreTrainedModel, Any]:
    """(model, tokenizer) of a family; the model gives the answers in turn and the last one ever after.

    `spare` rows of the vocabulary have no token, as where a vocabulary is padded.
    """
    family = FAMILIES[name]
    tokenizer = tokenizer_of(name, answers)
    ids: Any = tokenizer.convert_tokens_to_ids
    size = len(tokenizer) + spare
    width = -(-size // 8) * 8
    config = LlamaConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=8, max_position_embeddings=context, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, return_dict=False
    )
    ends = [ids(family.call_end or family.end if is_call(one) else family.end) for one in answers]
    following = {prompt[-1]: ids(answers[0])}
    if "[/TOOL_RESULTS]" in family.special:
        following[ids("[/TOOL_RESULTS]")] = ids(answers[0])
    following |= {ids(answer): end for answer, end in zip(answers, ends, strict=True)}
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.zero_()
        model.model.embed_tokens.weight[:, :size] = torch.eye(size)
        for token in range(size):
            model.lm_head.weight[following.get(token, ends[0]), token] = 30.0 / width**0.5
    listed = [ids(one) for one in family.configured] or None
    model.generation_config = GenerationConfig(eos_token_id=listed)
    return model.eval(), tokenizer


def is_call(text: str) -> bool:
    return "bash" in text


def save_family(name: str, answers: Sequence[str], folder: Path) -> Path:
    """Write such a checkpoint as a folder."""
    model, tokenizer = says(name, answers)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
