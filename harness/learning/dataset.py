"""From chosen attempts to a training set: token ids, and loss only on what the model (or a human) wrote.

The model's own attempts are used exactly as sampled, token by token, never re-tokenised. Human programs
are rendered through the same chat template, so both look alike to the model.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.models.template import template_of
from plateau_bench.results.records import Attempt
from plateau_bench.results.store import write_bytes
from plateau_bench.tasks.suite import HumanSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Origin(StrEnum):
    """Who wrote the tokens under the loss."""

    SELF = "self"
    HUMAN = "human"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One training example: `Example(token_ids=(1, 7, 9, 4), loss_spans=((2, 4),), ...)`."""

    token_ids: tuple[int, ...]
    loss_spans: tuple[tuple[int, int], ...]
    """Half-open ranges of `token_ids` that carry loss."""
    origin: Origin
    source: str
    """Where it came from: 'round-03/<task id>#<sample>' or 'human/<number>'."""
    correct: bool | None
    """By the hidden tests; for measurement only, never used to choose. None where it is not to be known."""
    input_ids: tuple[int, ...] = ()
    """What the model reads where that is not `token_ids` (noise); what it must write stays `token_ids`."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What one checkpoint is trained on."""

    examples: tuple[Example, ...]

    @property
    def digest(self) -> str:
        """sha256 over all examples in order."""
        return hashlib.sha256(self._jsonl()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """For the round record: sizes and origins."""
        own = [example for example in self.examples if example.origin is Origin.SELF]
        return {
            "examples": len(self.examples),
            "tokens": sum(len(example.token_ids) for example in self.examples),
            "loss_tokens": sum(end - start for e in self.examples for start, end in e.loss_spans),
            "human_examples": len(self.examples) - len(own),
            "precision_own": sum(e.correct is True for e in own) / len(own) if own else None,
            "digest": self.digest,
        }

    def save(self, path: Path) -> None:
        write_bytes(path, self._jsonl())

    def _jsonl(self) -> bytes:
        rows = (
            {
                "token_ids": e.token_ids,
                "loss_spans": e.loss_spans,
                "origin": e.origin,
                "source": e.source,
                "correct": e.correct,
            }
            | ({"input_ids": e.input_ids} if e.input_ids else {})
            for e in self.examples
        )
        return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def source_of(attempt: Attempt) -> str:
    """'round-03/<task id>#<sample>': what an example is known by."""
    return f"round-{attempt.round:02d}/{attempt.task_id}#{attempt.sample}"


def from_attempt(attempt: Attempt, *, tokens: bool = True) -> Example:
    """An attempt as the model wrote it; without `tokens` only that it was chosen, for actors without weights.

    Raises ValueError if it has no token ids (an endpoint that does not give them) and they are needed.
    """
    trajectory = attempt.trajectory
    if tokens and not trajectory.token_ids:
        raise ValueError(f"{source_of(attempt)}: no token ids were recorded, so it cannot be trained on")
    return Example(
        token_ids=trajectory.token_ids if tokens else (),
        loss_spans=trajectory.loss_spans if tokens else (),
        origin=Origin.SELF,
        source=source_of(attempt),
        correct=attempt.verdict.outcome == "passed",
    )


def from_human(
    tokenizer: "PreTrainedTokenizerBase", instruction: str, program: str, *, source: str, correct: bool
) -> Example:
    """Render a human (instruction, program) pair as the agent would have seen and written it."""
    prompt, completion = render(tokenizer, instruction, program)
    return Example(
        token_ids=(*prompt, *completion),
        loss_spans=((len(prompt), len(prompt) + len(completion)),),
        origin=Origin.HUMAN,
        source=source,
        correct=correct,
    )


def from_sample(tokenizer: "PreTrainedTokenizerBase", sample: HumanSample, *, source: str) -> Example:
    """Render a human sample: its conversation if it has one, else its program."""
    if not sample.chat:
        return from_human(
            tokenizer, sample.instruction, sample.program, source=source, correct=sample.correct
        )
    token_ids, spans = render_chat(tokenizer, sample.chat)
    return Example(
        token_ids=token_ids, loss_spans=spans, origin=Origin.HUMAN, source=source, correct=sample.correct
    )


def render_chat(
    tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Mapping[str, Any]]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """(token ids, spans that the assistant wrote) of a conversation, as the agent 'tool' would have had it.

    The spans are those that the chat template marks with {% generation %}; of one without marks, as all
    published ones are, what `ChatTemplate.conversation` finds. Raises ModelUnavailable if the template takes
    no tools or refuses the conversation.
    """
    from plateau_bench.agents.tool import SYSTEM_PROMPT, tool_schemas

    whole = [{"role": "system", "content": SYSTEM_PROMPT}, *map(dict, chat)]
    if "{% generation" not in str(tokenizer.chat_template).replace("{%-", "{%"):
        template = template_of(tokenizer)
        template.require_tools(tool_schemas())
        return template.conversation(whole, tool_schemas())
    rendered: Any = tokenizer.apply_chat_template(
        whole,
        tools=list(tool_schemas()),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    edges = [0, *rendered["assistant_masks"], 0]
    starts = [i for i in range(len(edges) - 1) if edges[i] < edges[i + 1]]
    ends = [i for i in range(len(edges) - 1) if edges[i] > edges[i + 1]]
    return tuple(rendered["input_ids"]), tuple(zip(starts, ends, strict=True))


def render(
    tokenizer: "PreTrainedTokenizerBase", instruction: str, program: str
) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of one exchange; the completion ends with the template's end of a turn."""
    template = template_of(tokenizer)
    asked = {"role": "user", "content": instruction}
    prompt = template.ids(template.render([asked], prompt=True))
    return prompt, template.ids(template.answer(asked, program), after=prompt[-1])


def batches(
    examples: Sequence[Example], *, batch_tokens: int, epochs: float, seed: int
) -> list[list[Example]]:
    """Length-bucketed batches of at most `batch_tokens` padded tokens, shuffled anew each epoch."""
    rng = random.Random(seed)
    result: list[list[Example]] = []
    remaining = epochs
    while remaining > 0:
        share = rng.sample(range(len(examples)), round(min(remaining, 1.0) * len(examples)))
        # Sorting a shuffled list by length is stable: which equal-length examples meet still varies.
        ordered = sorted((examples[i] for i in share), key=lambda e: len(e.token_ids))
        epoch: list[list[Example]] = []
        for example in ordered:
            if not epoch or (len(epoch[-1]) + 1) * len(example.token_ids) > batch_tokens:
                epoch.append([])
            epoch[-1].append(example)
        rng.shuffle(epoch)
        result += epoch
        remaining -= 1
    return result


def collate(batch: Sequence[Example], pad_id: int | None) -> Mapping[str, Any]:
    """Right-padded tensors: input_ids and labels (-100 where no loss), each (batch, length).

    No mask: the padding is on the right, where a causal model cannot see it, and carries no loss. So any id
    pads where the tokenizer has none for it (None), as Llama's and Mistral's.
    """
    import torch

    pad_id = pad_id or 0
    length = max(len(example.token_ids) for example in batch)
    rows, labels = [], []
    for example in batch:
        padding = [pad_id] * (length - len(example.token_ids))
        marked = [-100] * length
        for start, end in example.loss_spans:
            marked[start:end] = example.token_ids[start:end]
        rows.append([*(example.input_ids or example.token_ids), *padding])
        labels.append(marked)
    return {"input_ids": torch.tensor(rows), "labels": torch.tensor(labels)}
