"""An agent that recites: for demonstrations and for testing whatever stands around an agent."""

from collections.abc import Callable, Mapping, Sequence

from agents.base import Ending, Trajectory
from sandbox.base import Sandbox

Script = Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]]
"""The answers to an instruction; the i-th attempt of a call gets the i-th, starting over at the end."""


class ScriptedAgent:
    """Gives prepared answers. An empty answer ends MALFORMED, any other SUBMITTED."""

    needs_box = False

    def __init__(self, script: Script, *, name: str = "scripted") -> None:
        self.name = name
        self._script = script

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        if isinstance(self._script, Mapping):
            if instruction not in self._script:
                raise ValueError(f"agent {self.name!r}: the script has no answers for {instruction!r}")
            texts = self._script[instruction]
        else:
            texts = self._script(instruction)
        if not texts:
            raise ValueError(f"agent {self.name!r}: the script gives an empty list for {instruction!r}")
        answers = [texts[i % len(texts)] for i in range(len(seeds))]
        return [
            Trajectory(
                agent=self.name,
                model=self.name,
                seed=seed,
                answer=answer,
                ending=Ending.SUBMITTED if answer.strip() else Ending.MALFORMED,
            )
            for seed, answer in zip(seeds, answers, strict=True)
        ]
