"""Improver `memory`: no weights; an actor answers as the most alike instruction was answered before."""

import json
from dataclasses import dataclass
from difflib import get_close_matches

from plateau_bench.agents.scripted import ScriptedAgent

GUESSES = [f"def f(a):\n    return {it}\n" for it in ("sum(a)", "max(a)", "sorted(a)", "a[::-1]")]


class Actor:
    has_weights = False

    def __init__(self, name, memory):
        self.name, self.memory = name, memory

    def agent(self, config, temperature):
        def answers(instruction):
            near = get_close_matches(instruction, self.memory, n=1, cutoff=0.0)
            return [self.memory[one] for one in near] or GUESSES

        return ScriptedAgent(answers, name="memory")


class Memory:
    @dataclass(frozen=True, kw_only=True)
    class Params:
        forget: bool = False
        """Whether an actor knows the last round's answers only."""

    def __init__(self, params, setting):
        self.params, self.root = params, setting.root

    def open(self, name):
        file = self.root / name / "memory.json"
        return Actor(name, json.loads(file.read_text()) if file.exists() else {})

    def improve(self, start, seen, folder, *, seed, progress):
        known = {} if self.params.forget else self.open(start).memory
        known |= {one.instruction: one.answer for one in seen.attempts if one.chosen}
        unfinished = folder.with_name("unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        (unfinished / "memory.json").write_text(json.dumps(known))
        unfinished.rename(folder)  # it appears whole, or not at all
