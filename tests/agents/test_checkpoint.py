"""Tokenizer and checkpoint made from nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from plateau_bench.agents.models.checkpoint import END, UNKNOWN, make_model, make_tokenizer, save
from tests.agents.tiny import TEXTS, tiny_checkpoint

TOKENIZER = make_tokenizer([*TEXTS, "naïve ☃"], 320)
PRINTABLE = st.text(st.sampled_from([chr(code) for code in range(32, 127)] + ["\n", "\t", "ï", "☃"]))


@given(PRINTABLE)
@settings(max_examples=300)
def test_text_survives(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text


@given(st.text())
def test_no_text_crashes(text: str) -> None:
    ids = TOKENIZER(text).input_ids
    assert all(0 <= one < len(TOKENIZER) for one in ids)
    TOKENIZER.decode(ids)


def test_idioms_are_single_tokens_and_digits_stay_single() -> None:
    def pieces(text: str) -> list[str]:
        return [TOKENIZER.decode([one]) for one in TOKENIZER(text).input_ids]

    assert pieces("def f(a):\n    return [x + 42 for x in a if x % 2 == 0]") == [
        "def f(a):", "\n    return [x + ", "4", "2", " for x in a if x % ", "2", " == ", "0", "]",
    ]  # fmt: skip
    assert UNKNOWN in TOKENIZER.convert_ids_to_tokens(TOKENIZER("é").input_ids)


def test_the_template_marks_what_the_assistant_writes() -> None:
    chat = [{"role": "user", "content": "keep the even"}, {"role": "assistant", "content": "\treturn a"}]
    done = TOKENIZER.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    ids = done["input_ids"]
    assert TOKENIZER.decode(ids) == "<|user|>keep the even<|end|><|assistant|>\treturn a<|end|>"
    marked = [one for one, mask in zip(ids, done["assistant_masks"], strict=True) if mask]
    assert TOKENIZER.decode(marked) == f"\treturn a{END}"
    start = TOKENIZER.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
    assert start + marked == ids


def test_the_same_texts_give_the_same_bytes() -> None:
    first, second = (make_tokenizer(TEXTS, 320).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
    assert make_tokenizer(iter(TEXTS), 320).backend_tokenizer.to_str() == first


@pytest.mark.slow
def test_the_same_texts_give_the_same_bytes_in_another_process() -> None:
    here = make_tokenizer(TEXTS, 160).backend_tokenizer.to_str()
    program = (
        "from plateau_bench.agents.models.checkpoint import make_tokenizer\n"
        "from tests.agents.tiny import TEXTS\n"
        "import sys; sys.stdout.write(make_tokenizer(TEXTS, 160).backend_tokenizer.to_str())"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert there.stdout == here


def test_a_vocabulary_below_the_alphabet_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size 50"):
        make_tokenizer(TEXTS, 50)


def test_save_makes_an_ordinary_folder(tmp_path: Path) -> None:
    model, tokenizer = tiny_checkpoint()
    save(model, tokenizer, tmp_path / "runs" / "base")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["base"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "runs" / "base")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id
    assert again.lm_head.weight is again.model.embed_tokens.weight
    loaded = AutoTokenizer.from_pretrained(tmp_path / "runs" / "base")
    assert loaded(TEXTS[-1]).input_ids == tokenizer(TEXTS[-1]).input_ids
    assert loaded.decode(loaded(" \t x\n").input_ids) == " \t x\n"
    assert (loaded.chat_template, loaded.pad_token, loaded.eos_token) == (
        tokenizer.chat_template,
        "<|pad|>",
        END,
    )
    with pytest.raises(ValueError, match="base exists"):
        save(model, tokenizer, tmp_path / "runs" / "base")


def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        def save_pretrained(self, folder: Path) -> None:
            (folder / "half").write_text("written")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(tiny_checkpoint()[0], Broken(), tmp_path / "base")
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_the_weights_and_nothing_else_moves() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, same, other = (make_model(TOKENIZER, hidden=32, heads=2, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(torch.rand(3), expected)
    weights = [model.model.embed_tokens.weight for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.config.vocab_size == len(TOKENIZER)
