"""A transformers checkpoint as a LangChain chat model, with exact token ids and log-probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from plateau_bench.agents.base import ModelUnavailable
from plateau_bench.agents.models.chat import to_message
from plateau_bench.agents.models.cohort import Batcher
from plateau_bench.agents.models.faults import ContextFull
from plateau_bench.agents.models.loading import check_weights, read_tokenizer, read_weights, require_template
from plateau_bench.agents.models.sampler import Sample, positions_of, sample
from plateau_bench.agents.models.template import ChatTemplate
from plateau_bench.agents.models.toolcalls import Reply, read_reply


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRequest:
    """k samples of one prompt."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    temperature: float
    max_tokens: int


class LocalChatModel(BaseChatModel):
    """Samples from weights in this process; calls from concurrent agents of one cohort share batches.

    Each message carries `usage_metadata` and, in `response_metadata`: model_name, finish_reason ("stop" |
    "length"), prompt_token_ids, token_ids, logprobs (natural log, temperature 1) and seed. The i-th sample
    of a call uses the i-th of `seeds`; without them seed 0 and up, so equal calls give equal answers.
    """

    name_or_path: str
    temperature: float = 1.0
    max_tokens: int | None = None
    """Tokens to write at most. None: up to 512, or what the model's positions leave."""
    takes_seeds: bool = True
    """Tells agents that one call may carry `n` and `seeds`."""
    _model: PreTrainedModel = PrivateAttr()
    _tokenizer: PreTrainedTokenizerBase = PrivateAttr()
    _template: ChatTemplate = PrivateAttr()
    _batcher: Batcher[PromptRequest, list[Sample]] = PrivateAttr()

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **fields: Any) -> None:
        """`model` is put in evaluation mode.

        Raises ValueError for a tokenizer without chat template and for weights that are not finite,
        ModelUnavailable for a template that refuses a plain question.
        """
        fields.setdefault("name_or_path", model.config.name_or_path or "local")
        super().__init__(**fields)
        require_template(tokenizer, self.name_or_path)
        check_weights(model, self.name_or_path)
        self._model, self._tokenizer = model, tokenizer
        self._template = ChatTemplate(tokenizer, self.name_or_path, configured_stops(model))
        model.eval()  # type: ignore[no-untyped-call]
        self._batcher = Batcher(self._run)

    @classmethod
    def load(
        cls,
        id_or_path: str | Path,
        *,
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        chat_template: str | None = None,
        **fields: Any,
    ) -> Self:
        """Load a checkpoint folder or hub id.

        device "auto" is cuda where there is one; dtype "auto" is float32 on the cpu and bfloat16 elsewhere.
        `fields` are this class's (temperature, max_tokens, name_or_path). Raises ValueError, in one line, if
        there is no such checkpoint or it cannot be loaded.
        """
        place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if dtype == "auto":
            dtype = torch.float32 if place == "cpu" else torch.bfloat16
        tokenizer = read_tokenizer(str(id_or_path), chat_template)
        model = read_weights(str(id_or_path), dtype)
        return cls(model.to(place), tokenizer, **{"name_or_path": str(id_or_path)} | fields)

    @property
    def transformers_model(self) -> PreTrainedModel:
        """The weights, in evaluation mode; not to be changed while agents use them."""
        return self._model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    def require_tools(self, tools: Sequence[dict[str, Any]]) -> None:
        """Raise ModelUnavailable if the chat template takes no tools."""
        if not getattr(self._tokenizer, "response_template", None):
            self._template.require_tools(tools)

    def bind_tools(
        self, tools: Sequence[dict | type | Callable | Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Show the tools to the chat template; calls in the answers are read by `toolcalls`."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @property
    def _llm_type(self) -> str:
        return "plateau-local"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        n: int = 1,
        seeds: Sequence[int] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: list[Any] | None = None,
        tool_choice: None = None,
        **kwargs: Any,
    ) -> ChatResult:
        seeds = tuple(range(n)) if seeds is None else tuple(seeds)
        if stop or kwargs or tool_choice or len(seeds) != n:
            unknown = [*kwargs, *["stop"] * bool(stop)]
            raise ValueError(f"{n} seeds needed, got {len(seeds)}; options not supported: {unknown}")
        prompt_ids = self._prompt(messages, tools)
        request = PromptRequest(
            prompt_ids=tuple(prompt_ids),
            seeds=seeds,
            temperature=self.temperature if temperature is None else temperature,
            max_tokens=self._room(
                len(prompt_ids),
                self.max_tokens if max_tokens is None else max_tokens,
                begun=any(isinstance(message, AIMessage) for message in messages),
            ),
        )
        samples = self._batcher.ask(request)
        calls = sum(len(m.tool_calls) for m in messages if isinstance(m, AIMessage))
        return ChatResult(
            generations=[
                self._generation(request, found, seed, tools, calls)
                for found, seed in zip(samples, seeds, strict=True)
            ],
            llm_output={"model_name": self.name_or_path},
        )

    def _prompt(self, messages: Sequence[BaseMessage], tools: list[Any] | None) -> list[int]:
        """Token ids of a conversation. An answer of this model stays as it was sampled, token by token.

        Only what came after the last such answer is rendered and tokenised anew.
        """
        chat = [as_chat(message) for message in messages]
        last = max((i for i, m in enumerate(messages) if m.response_metadata.get("token_ids")), default=None)
        if last is None:
            return self._template.ids(self._template.render(chat, tools, prompt=True))
        facts = messages[last].response_metadata
        before = [*facts["prompt_token_ids"], *facts["token_ids"]]
        return [*before, *self._template.ids(self._template.added(chat, last, tools), after=before[-1])]

    def _room(self, prompt_tokens: int, wanted: int | None, *, begun: bool) -> int:
        """Tokens to write: what was asked for, or what the model's positions leave."""
        left = positions_of(self._model) - prompt_tokens
        if left < 1:
            raise (ContextFull if begun else ModelUnavailable)(
                f"{self.name_or_path}: the prompt has {prompt_tokens} tokens and the model "
                f"{prompt_tokens + left} positions; nothing can be written. Take a model "
                f"with a longer context, or tasks with shorter instructions"
            )
        return min(512 if wanted is None else wanted, left)

    def _run(self, requests: list[PromptRequest]) -> list[list[Sample]]:
        answers: dict[int, list[Sample]] = {}
        for temperature in dict.fromkeys(request.temperature for request in requests):
            group = [i for i, one in enumerate(requests) if one.temperature == temperature]
            found = sample(
                self._model,
                [requests[i].prompt_ids for i in group],
                [requests[i].seeds for i in group],
                temperature=temperature,
                max_new_tokens=[requests[i].max_tokens for i in group],
                stop_ids=self._template.stop_ids,
                pad_id=self._tokenizer.pad_token_id or 0,
            )
            answers.update(zip(group, found, strict=True))
        return [answers[i] for i in range(len(requests))]

    def _generation(
        self, request: PromptRequest, found: Sample, seed: int, tools: list[Any] | None, first: int
    ) -> ChatGeneration:
        written = list(found.token_ids[:-1] if found.finish == "stop" else found.token_ids)
        # Special tokens stay visible: what is graded must be what was written.
        text = self._template.text(written, after=request.prompt_ids[-1])
        reply = read_reply(self._tokenizer, request.prompt_ids, text, tools, first) if tools else Reply(text)
        message = AIMessage(
            reply.text,
            tool_calls=reply.calls,
            invalid_tool_calls=reply.malformed,
            usage_metadata={
                "input_tokens": len(request.prompt_ids),
                "output_tokens": len(found.token_ids),
                "total_tokens": len(request.prompt_ids) + len(found.token_ids),
            },
            response_metadata={
                "model_name": self.name_or_path,
                "finish_reason": found.finish,
                "prompt_token_ids": request.prompt_ids,
                "token_ids": found.token_ids,
                "logprobs": found.logprobs,
                "seed": seed,
            },
        )
        return ChatGeneration(message=message, generation_info={"finish_reason": found.finish})


def as_chat(message: BaseMessage) -> dict[str, Any]:
    """A message as chat templates expect it: tool calls with their arguments as a dict, text as a string."""
    return {**to_message(message).chat(), "content": message.text}


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that end a completion: by tokenizer, generation config and chat template."""
    return ChatTemplate(tokenizer, stops=configured_stops(model)).stop_ids


def configured_stops(model: PreTrainedModel) -> list[int]:
    """The ids that end a completion by the model's generation config."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    return [one for one in (configured if isinstance(configured, list) else [configured]) if one is not None]
