"""One completion per attempt; the code in it is the answer."""

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plateau_bench.agents.base import Agent, Ending, Limits, Trajectory
from plateau_bench.agents.models.chat import model_name, seeding
from plateau_bench.agents.models.faults import crash, cut_short
from plateau_bench.agents.models.prices import Spending, require_price
from plateau_bench.sandbox.base import Sandbox

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

_BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("", "py", "python", "python3")


def extract_code(text: str) -> str:
    """Return the first fenced block marked python or unmarked (closed or cut off), else the whole text."""
    blocks = (match.groups() for match in _BLOCK.finditer(text))
    return next((code for kind, code in blocks if kind.strip().lower() in _PYTHON), text)


class OneShot(Agent):
    """Asks the model once for all attempts at an instruction."""

    name = "oneshot"
    needs_box = False

    def __init__(
        self,
        model: "BaseChatModel",
        *,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        temperature: float | None = 1.0,
        system_prompt: str = "",
    ) -> None:
        """`model` must answer a call with n completions (`n` as in OpenAI's API; LocalChatModel does).

        A temperature of None is not sent. Raises ValueError for a cost limit where the model has no `price`.
        """
        require_price(limits, model)
        self.model = model
        self.limits = limits
        self.temperature = temperature
        self.system_prompt = system_prompt

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        if not seeds:
            return []
        started = time.perf_counter()
        try:
            replies = self._ask(instruction, seeds)
        except Exception as error:
            name, spent = model_name(self.model), _since(started)
            what = crash(error, name)
            return [
                Trajectory(
                    agent=self.name, model=name, seed=seed, answer="", ending=Ending.CRASHED,
                    duration_s=spent, error=what,
                )
                for seed in seeds
            ]  # fmt: skip
        spent = _since(started)
        return [self._trajectory(reply, seed, spent) for reply, seed in zip(replies, seeds, strict=True)]

    def _ask(self, instruction: str, seeds: Sequence[int]) -> "list[AIMessage]":
        from langchain_core.messages import HumanMessage, SystemMessage

        messages = [SystemMessage(self.system_prompt)] if self.system_prompt else []
        options = seeding(self.model, seeds)
        if self.temperature is not None:
            options["temperature"] = self.temperature
        result = self.model.generate(
            [[*messages, HumanMessage(instruction)]],
            n=len(seeds),
            max_tokens=self.limits.completion_tokens,
            **options,
        )
        replies = [generation.message for generation in result.generations[0]]  # type: ignore[union-attr]
        if len(replies) != len(seeds):
            raise ValueError(
                f"{model_name(self.model)} gave {len(replies)} completions where n={len(seeds)} was asked"
            )
        return replies  # type: ignore[return-value]

    def _trajectory(self, reply: "AIMessage", seed: int, duration_s: float) -> Trajectory:
        facts = reply.response_metadata
        prompt, written = tuple(facts.get("prompt_token_ids", ())), tuple(facts.get("token_ids", ()))
        answer = extract_code(reply.text)
        whole = Ending.SUBMITTED if answer.strip() else Ending.MALFORMED
        spent = Spending(self.limits, self.model)
        spent.note(reply)
        return Trajectory(
            agent=self.name,
            model=facts.get("model_name") or model_name(self.model),
            seed=seed,
            answer=answer,
            ending=cut_short(facts) or whole,
            token_ids=prompt + written,
            loss_spans=((len(prompt), len(prompt) + len(written)),) if written else (),
            logprobs=tuple(facts.get("logprobs", ())) if written else (),
            duration_s=duration_s,
            **spent.facts(),
        )


def _since(started: float) -> float:
    return time.perf_counter() - started
