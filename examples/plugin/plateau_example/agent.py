"""Agent `briefed`: one completion, after a system prompt that says what is wanted."""

from plateau_bench.agents.oneshot import OneShot


class Briefed(OneShot):
    name = "briefed"

    def __init__(self, model, **options):
        super().__init__(model, system_prompt="Answer with one Python function and no more.", **options)
