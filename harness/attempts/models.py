"""Checkpoints in memory: the few that a round compares stay loaded, older ones are dropped."""

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plateau_bench.agents import make_agent
from plateau_bench.agents.base import Agent, Limits
from plateau_bench.agents.models import require_torch
from plateau_bench.harness.attempts.settings import AgentConfig

if TYPE_CHECKING:
    from plateau_bench.agents.models.local import LocalChatModel
    from plateau_bench.agents.served.server import Server

KEPT = 3
"""Base, previous and current."""


class Models:
    """Loads checkpoints by name onto one device.

    A name is a path below the run folder, which a record can hold wherever the folder is moved, or any
    other path or hub id.
    """

    def __init__(self, device: str, root: Path) -> None:
        self._device = device
        self._root = root
        self._loaded: OrderedDict[str, LocalChatModel] = OrderedDict()
        self._server: Server | None = None
        """Serves the checkpoint that acts."""

    def chat(self, checkpoint: str) -> "LocalChatModel":
        """The checkpoint as a chat model. Raises ValueError naming it if it cannot be used."""
        if checkpoint not in self._loaded:
            self._loaded[checkpoint] = self._load(checkpoint)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(checkpoint)
        return self._loaded[checkpoint]

    def weights(self, checkpoint: str) -> Any:
        """The transformers model, in evaluation mode; not to be changed."""
        return self.chat(checkpoint).transformers_model

    def tokenizer(self, checkpoint: str) -> Any:
        return self.chat(checkpoint).tokenizer

    def fresh(self, checkpoint: str) -> tuple[Any, Any]:
        """(model, tokenizer) loaded anew in float32, for training."""
        loaded = self._load(checkpoint, dtype="float32")
        return loaded.transformers_model, loaded.tokenizer

    def agent(self, config: AgentConfig, checkpoint: str, temperature: float) -> Agent:
        """The configured agent with this checkpoint behind it."""
        limits = Limits(
            completion_tokens=config.completion_tokens,
            steps=config.steps,
            tokens=config.tokens,
            command_s=config.command_s,
        )
        if config.serve is not None:
            return self._served(config, checkpoint, limits, temperature)
        return make_agent(config.name, self.chat(checkpoint), limits=limits, temperature=temperature)

    def close(self) -> None:
        """Ends the server, if there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _served(self, config: AgentConfig, checkpoint: str, limits: Limits, temperature: float) -> Agent:
        from plateau_bench.agents.models.endpoint import open_endpoint
        from plateau_bench.agents.served.agent import Served
        from plateau_bench.agents.served.server import NAME, Server
        from plateau_bench.agents.vendors.agent import read_vendor

        assert config.serve is not None
        path = self._path(checkpoint)
        if self._server is None or self._server.model != path:
            self.close()
            self._server = Server(config.serve, path)
        chat: Any = open_endpoint(f"openai:{NAME}", base_url=self._server.url)
        chat = chat.model_copy(update={"model": checkpoint})  # as records name it
        vendor = {"vendor": read_vendor(config.vendor)} if config.vendor else {}
        agent = make_agent(config.name, chat, limits=limits, temperature=temperature, **vendor)
        return Served(agent, self.tokenizer(checkpoint))

    def _path(self, checkpoint: str) -> str:
        inside = self._root / checkpoint
        return str(inside) if inside.exists() else checkpoint

    def _load(self, checkpoint: str, dtype: str = "auto") -> "LocalChatModel":
        require_torch(f"model.path: {checkpoint!r}")
        from plateau_bench.agents.models.local import LocalChatModel

        path = self._path(checkpoint)
        try:
            return LocalChatModel.load(path, device=self._device, dtype=dtype, name_or_path=checkpoint)
        except ValueError as error:
            raise ValueError(f"model.path: {error}") from None
