"""What carries loss in a training example, for people to see:
`python -m plateau_bench.harness.cli.masks ROUND [NUMBER]`.

ROUND is the folder of a round, such as RUN/seed-1/replace/round-00: it holds the training set and the
checkpoint that was made from it, whose tokenizer is used.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plateau_bench.results.store import read_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def masked_text(
    tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int], loss_spans: Sequence[Sequence[int]]
) -> str:
    """The decoded example by lines; those under the loss open with 'loss |', the others with '     |'."""

    def block(start: int, end: int, mark: str) -> Iterator[str]:
        text = str(tokenizer.decode(list(token_ids[start:end]), skip_special_tokens=False))
        return (f"{mark} | {line}" for line in text.split("\n"))

    lines: list[str] = []
    done = 0
    for start, end in (*loss_spans, (len(token_ids), len(token_ids))):
        if done < start:
            lines += block(done, start, "    ")
        if start < end:
            lines += block(start, end, "loss")
        done = end
    return "\n".join(lines)


def main(folder: Path, number: int = 0) -> None:
    """Print one example of a round's training set."""
    from transformers import AutoTokenizer

    row = read_lines(folder / "training_set.jsonl")[number]
    spans = row["loss_spans"]
    tokens = sum(end - start for start, end in spans)
    size = len(row["token_ids"])
    print(f"{row['source']}: {size} tokens, {tokens} of them under the loss, in {len(spans)} spans")
    print(masked_text(AutoTokenizer.from_pretrained(folder / "checkpoint"), row["token_ids"], spans))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
