"""A chat model behind an endpoint: patient with what passes, quick with what does not, and never over budget.

Any LangChain chat model can be wrapped; `open_endpoint` makes one by name (`init_chat_model`). The provider's
own retries are switched off, so that there is one place that decides what is tried again.
"""

import json
import os
import threading
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from plateau_bench.agents.base import BudgetSpent, Ending, ModelUnavailable, NotReached
from plateau_bench.agents.models.faults import (
    Filtered,
    Passing,
    RequestRefused,
    ThrownAway,
    cut_short,
    fault_in_answer,
)
from plateau_bench.agents.models.patience import Breaker, Policy
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.models.whole import keep_all, speaks
from plateau_bench.agents.models.wire import Wire, http_client, plausible, provider_of, usage_of


class Budget:
    """What a run may spend, shared by all its attempts.

    A call is reserved at its worst case before it is made and settled at what it cost, so that many calls at
    once cannot pass the limit together.
    """

    def __init__(self, usd: float | None = None, tokens: int | None = None) -> None:
        """None means no limit of that kind."""
        self.usd, self.tokens = usd, tokens
        self.spent_usd, self.spent_tokens, self.calls, self.uncounted = 0.0, 0, 0, 0
        self._held_usd, self._held_tokens = 0.0, 0
        self._settled = threading.Condition()

    def reserve(self, usd: float, tokens: int) -> None:
        """Wait until the call fits beside those in flight. Raises BudgetSpent if it would not fit alone."""
        with self._settled:
            while True:
                self._refuse(usd, tokens)
                fits = (self.usd is None or self.spent_usd + self._held_usd + usd <= self.usd) and (
                    self.tokens is None or self.spent_tokens + self._held_tokens + tokens <= self.tokens
                )
                if fits:
                    break
                self._settled.wait()
            self._held_usd += usd
            self._held_tokens += tokens

    def _refuse(self, usd: float, tokens: int) -> None:
        for limit, spent, more, unit in (
            (self.usd, self.spent_usd, usd, "US dollars"),
            (self.tokens, self.spent_tokens, tokens, "tokens"),
        ):
            if limit is not None and spent + more > limit:
                raise BudgetSpent(
                    f"the run's budget is spent: {spent:g} of {limit:g} {unit}, a call may take {more:g}"
                )

    def settle(self, usd: float, tokens: int, cost: float | None, used: int | None) -> None:
        """Replace a reservation by what was spent; None where the endpoint did not say."""
        with self._settled:
            self._held_usd -= usd
            self._held_tokens -= tokens
            self.calls += 1
            self.uncounted += used is None
            # An unknown cost is none in the records, but the limit must hold: here it is the worst case.
            self.spent_usd += usd if cost is None else cost
            self.spent_tokens += tokens if used is None else used
            self._settled.notify_all()

    def release(self, usd: float, tokens: int) -> None:
        """Give a reservation back, for the call failed without an answer."""
        with self._settled:
            self._held_usd -= usd
            self._held_tokens -= tokens
            self._settled.notify_all()


class EndpointChat(BaseChatModel):
    """Wraps a chat model: asks it patiently, pays for every answer, and raises what `faults` says."""

    inner: BaseChatModel
    model: str
    takes_seed: bool = False
    price: Price | None = None
    policy: Policy = Policy()
    breaker: Breaker = Field(default_factory=Breaker)
    budget: Budget = Field(default_factory=Budget)
    wire: Any = Field(default_factory=Wire)
    dropped: set[str] = Field(default_factory=set)
    """Parameters that nobody asked for and the endpoint refused: they are not sent again."""

    @property
    def _llm_type(self) -> str:
        return "plateau-endpoint"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=list(tools), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        n: int = 1,
        seed: int | None = None,
        max_tokens: int = 4096,
        tools: list[Any] | None = None,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        """n answers by n calls: not every provider gives several at once."""
        model: Any = self.inner
        if tools:
            model = model.bind_tools(tools, **({"tool_choice": tool_choice} if tool_choice else {}))
        answers = []
        for i in range(n):
            options = {"max_tokens": max_tokens} | kwargs | ({"stop": stop} if stop else {})
            if self.takes_seed and seed is not None:
                options["seed"] = (seed + i) % 2**31
            answers.append(self._answer(model, messages, options, tools))
        return ChatResult(generations=[ChatGeneration(message=answer) for answer in answers])

    def _answer(
        self, model: Any, messages: list[BaseMessage], options: dict[str, Any], tools: list[Any] | None
    ) -> AIMessage:
        """Ask until there is an answer; what was thrown away on the way goes with it."""
        sent = json.dumps(options.get("extra_body") or "", default=str)
        most_read = max(upper_bound(messages, tools), len(sent.encode()))
        worst = {"input_tokens": most_read, "output_tokens": options["max_tokens"]}
        deadline = time.monotonic() + self.policy.patience_s
        thrown: list[Any] = []
        provider: list[dict[str, Any]] = []
        tries = 0
        while True:
            probing = self.breaker.wait()
            try:
                answer = self._ask(model, messages, self._sent(options), worst, thrown, provider)
            except Passing as fault:
                away = not fault.connected and not self.breaker.answered
                if not away:
                    self.breaker.note(ok=False)
                tries += away or not (probing or fault.retry_after is not None)
                self._rest(fault, tries, deadline)
            except ThrownAway as fault:
                self.breaker.note(ok=False)
                tries += 1
                self._rest(fault, tries, deadline)
            except RequestRefused as fault:
                self.breaker.note(ok=True)
                if not self._without(fault, options):
                    raise
            except ModelUnavailable as error:
                self.breaker.give_up(error)
                raise
            else:
                self.breaker.note(ok=True)
                broke = cut_short(answer.response_metadata) is Ending.ERROR
                tries += 1
                if not broke or tries >= self.policy.tries or time.monotonic() > deadline:
                    break
                thrown.append(answer.usage_metadata)
                self.breaker.sleep(self.policy.pause(tries))
        facts = {"worst_usage": worst, "thrown_away": thrown, "provider": provider}
        answer.response_metadata |= facts | {"model_name": self.model}
        return answer

    def _rest(self, fault: Passing | ThrownAway, tries: int, deadline: float) -> None:
        """Wait before the next try. Raises NotReached or ModelUnavailable when there is none."""
        away = isinstance(fault, Passing) and not fault.connected and not self.breaker.answered
        if away and tries >= min(self.policy.unconnected, self.policy.tries):
            gone = f"{fault}; nobody is there: see that the server is up and base_url is right"
            self.breaker.give_up(ModelUnavailable(gone))
            raise ModelUnavailable(gone) from fault
        asked = fault.retry_after if isinstance(fault, Passing) else None
        now = time.monotonic()
        if tries >= self.policy.tries or now + (asked or 0) > deadline:
            raise NotReached(f"no answer after {tries} tries: {fault}") from fault
        if asked is not None:
            self.breaker.hold(asked)
        else:
            self.breaker.sleep(self.policy.pause(tries))

    def _ask(
        self,
        model: Any,
        messages: list[BaseMessage],
        options: dict[str, Any],
        worst: dict[str, int],
        thrown: list[Any],
        provider: list[dict[str, Any]],
    ) -> AIMessage:
        """One request, paid for. Appends to `thrown` the usage of an answer that is none, None if unknown."""
        usd = self.price.of(worst) if self.price else 0.0
        tokens = sum(worst.values())
        self.budget.reserve(usd, tokens)
        self.wire.take()
        try:
            answer = model.invoke(messages, **options)
            if not isinstance(answer, AIMessage):
                raise ThrownAway(
                    f"{self.model}: the endpoint gave {type(answer).__name__} instead of a message"
                )
        except BaseException as error:
            fault, body = fault_in_answer(error, self.model), self.wire.take()
            if isinstance(fault, Filtered):
                self.budget.release(usd, tokens)
                return AIMessage(
                    "", response_metadata={"finish_reason": "content_filter"}, usage_metadata=FREE
                )
            if isinstance(fault, ThrownAway) and ("choices" in body or "usage" in body):
                usage = plausible(usage_of(body))
                thrown.append(usage)
                provider.append(provider_of(body))
                self._settle(usd, tokens, usage)
            else:
                self.budget.release(usd, tokens)
            raise fault from (None if fault is error else error)
        self.wire.take()
        answer.usage_metadata = usage = plausible(answer.usage_metadata)
        provider.append(provider_of(answer.response_metadata))
        self._settle(usd, tokens, usage)
        return answer

    def _settle(self, usd: float, tokens: int, usage: Any) -> None:
        cost = self.price.of(usage) if self.price and usage else None
        self.budget.settle(usd, tokens, cost, usage["total_tokens"] if usage else None)

    def _sent(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as this endpoint takes them."""
        sent = {name: value for name, value in options.items() if name not in self.dropped}
        if MOST in self.dropped:  # an older or stricter server: LangChain's client sends only the new name
            sent["extra_body"] = {**sent.get("extra_body", {}), "max_tokens": sent.pop("max_tokens")}
        return sent

    def _without(self, fault: RequestRefused, options: dict[str, Any]) -> bool:
        """Whether the call may be made again without a parameter that nobody asked for."""
        for name in ("seed", MOST):
            sent = name in options or name == MOST
            if sent and name not in self.dropped and fault.names(name):
                self.dropped.add(name)
                warnings.warn(f"{fault}: {name} is not sent any more", stacklevel=2)
                return True
        return False


MOST = "max_completion_tokens"
FREE: Any = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def upper_bound(messages: Sequence[BaseMessage], tools: Sequence[Any] | None) -> int:
    """Return more tokens than any tokenizer makes of these messages: no token is shorter than a byte."""
    text = json.dumps([message_to_dict(message)["data"]["content"] for message in messages], default=str)
    calls = json.dumps([getattr(message, "tool_calls", []) for message in messages], default=str)
    return len(text.encode()) + len(calls.encode()) + len(str(tools or "").encode()) + 16 * len(messages)


def open_endpoint(
    name: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    price: Price | None = None,
    timeout_s: float = 300.0,
    policy: Policy | None = None,
    breaker: Breaker | None = None,
    budget: Budget | None = None,
) -> EndpointChat:
    """Open a model by LangChain's name, as 'openai:gpt-5'.

    `base_url` is for servers that speak that provider's protocol. Raises ValueError if the name is unknown or
    its package is missing, naming what to install.
    """
    from langchain.chat_models import init_chat_model

    if budget is not None and budget.usd is not None and price is None:
        raise ValueError(f"model {name!r}: a budget in US dollars needs the model's price")
    options: dict[str, Any] = {"timeout": timeout_s, "max_retries": 0}
    wire = Wire()
    if name.startswith("openai:") and find_spec("openai"):
        address = base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
        # Without options of its own for sockets, which would switch proxies off for hosts elsewhere, too.
        options |= {"http_client": http_client(address, wire, timeout_s), "http_socket_options": ()}
    if base_url:
        # Servers of one's own ask for no key, but the client insists on one.
        options |= {"base_url": base_url, "api_key": api_key or "none"}
    elif api_key:
        options["api_key"] = api_key
    try:
        inner: Any = keep_all(init_chat_model(name, **options))
    except ImportError as error:
        raise ValueError(
            f"model {name!r}: {error}; 'plateau-bench[endpoints]' brings OpenAI's client"
        ) from None
    except Exception as error:
        raise ValueError(f"model {name!r} cannot be opened: {str(error).splitlines()[0]}") from None
    return EndpointChat(
        inner=inner,
        model=name,
        takes_seed=name.startswith("openai:") or (base_url is not None and speaks(inner) != "messages"),
        price=price,
        policy=policy or Policy(),
        breaker=breaker or Breaker(),
        budget=budget or Budget(),
        wire=wire,
    )
