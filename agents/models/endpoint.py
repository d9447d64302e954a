"""A chat model behind an endpoint: patient with what passes, quick with what does not, and never over budget.

Any LangChain chat model can be wrapped; `open_endpoint` makes one by name (`init_chat_model`). The provider's
own retries are switched off, so that there is one place that decides what is tried again.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from plateau_bench.agents.base import BudgetSpent, ModelUnavailable
from plateau_bench.agents.models.prices import Price
from plateau_bench.agents.models.whole import keep_all, speaks

RETRIABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that may pass. Any other 4xx says that the request is wrong, and stays wrong."""
HOPELESS = ("insufficient_quota", "billing", "credit balance")
"""In the text of a 429: waiting does not help."""


def retriable(error: BaseException) -> bool:
    """Whether the same call may succeed later: congestion, broken connections, bodies that cannot be read."""
    if isinstance(error, ModelUnavailable | BudgetSpent):
        return False
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        return status in RETRIABLE and not any(word in str(error).lower() for word in HOPELESS)
    names = {one.__name__ for one in type(error).__mro__}
    broken = {"APIConnectionError", "TransportError", "ConnectionError", "TimeoutError", "APIError"}
    return bool(names & broken) or isinstance(error, json.JSONDecodeError | MalformedAnswer)


class MalformedAnswer(RuntimeError):
    """The endpoint said 200 and something that is no answer."""


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


class Breaker:
    """Stops asking an endpoint that only fails, and finds out whether it is back with one call at a time."""

    def __init__(self, failures: int = 20, rest_s: float = 5.0, give_up_s: float = 900.0) -> None:
        """After `failures` in a row nobody asks for `rest_s`; after `give_up_s` of that it counts as down."""
        self._limit, self._rest, self._give_up = failures, rest_s, give_up_s
        self._failures, self._since, self._probe_at = 0, 0.0, 0.0
        self._change = threading.Condition()

    def wait(self) -> None:
        """Wait until asking makes sense. Raises ModelUnavailable if it has not for too long."""
        with self._change:
            while self._failures >= self._limit:
                now = time.monotonic()
                if now - self._since > self._give_up:
                    raise ModelUnavailable(
                        f"the endpoint has failed {self._failures} calls in a row, "
                        f"for {now - self._since:.0f} s; see that it is up, then resume"
                    )
                if now >= self._probe_at:
                    self._probe_at = now + self._rest
                    return
                self._change.wait(self._probe_at - now)

    def note(self, ok: bool) -> None:
        with self._change:
            if ok:
                self._failures = 0
                self._change.notify_all()
                return
            self._failures += 1
            if self._failures == 1:
                self._since = time.monotonic()
            if self._failures == self._limit:
                self._probe_at = time.monotonic() + self._rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How patient to be with one call."""

    tries: int = 6
    """How often one call is tried at most."""
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0


class EndpointChat(BaseChatModel):
    """Wraps a chat model. Its answers carry usage only where what the endpoint said can be true."""

    inner: BaseChatModel
    model: str
    takes_seed: bool = False
    price: Price | None = None
    policy: Policy = Policy()
    breaker: Breaker = Field(default_factory=Breaker)
    budget: Budget = Field(default_factory=Budget)

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
            answers.append(self._call(model, messages, options, tools))
        return ChatResult(generations=[ChatGeneration(message=answer) for answer in answers])

    def _call(
        self, model: Any, messages: list[BaseMessage], options: dict[str, Any], tools: list[Any] | None
    ) -> AIMessage:
        sent = json.dumps(options.get("extra_body") or "", default=str)
        read = max(upper_bound(messages, tools), len(sent.encode()))
        worst = {"input_tokens": read, "output_tokens": options["max_tokens"]}
        usd = self.price.of(worst) if self.price else 0.0
        tokens = sum(worst.values())
        self.budget.reserve(usd, tokens)
        try:
            answer = self._patiently(lambda: model.invoke(messages, **options))
        except BaseException:
            self.budget.release(usd, tokens)
            raise
        answer.usage_metadata = plausible(answer.usage_metadata, worst)
        usage = answer.usage_metadata
        cost = self.price.of(usage) if self.price and usage else None
        self.budget.settle(usd, tokens, cost, usage["total_tokens"] if usage else None)
        if usage is None:
            answer.response_metadata["worst_usage"] = worst
        answer.response_metadata["model_name"] = self.model
        return answer

    def _patiently(self, ask: Callable[[], Any]) -> AIMessage:
        def once() -> AIMessage:
            self.breaker.wait()
            try:
                answer = ask()
                if not isinstance(answer, AIMessage):
                    raise MalformedAnswer(f"the endpoint gave {type(answer).__name__} instead of a message")
            except Exception as error:
                # A refused request is an answer, too: the endpoint is up.
                self.breaker.note(ok=not retriable(_as_malformed(error)))
                raise _as_malformed(error) from error
            self.breaker.note(ok=True)
            return answer

        policy = self.policy
        return Retrying(
            stop=stop_after_attempt(policy.tries),
            wait=wait_random_exponential(multiplier=policy.first_wait_s, max=policy.longest_wait_s),
            retry=retry_if_exception(retriable),
            reraise=True,
        )(once)


def _as_malformed(error: Exception) -> Exception:
    """Client libraries stumble over bodies that are no answers in their own ways."""
    stumbled = isinstance(error, TypeError | KeyError | AttributeError | IndexError) or (
        isinstance(error, ValueError) and not hasattr(error, "status_code")
    )
    return MalformedAnswer(f"{type(error).__name__}: {error}"[:300]) if stumbled else error


def upper_bound(messages: Sequence[BaseMessage], tools: Sequence[Any] | None) -> int:
    """Return more tokens than any tokenizer makes of these messages: no token is shorter than a byte."""
    text = json.dumps([message_to_dict(message)["data"]["content"] for message in messages], default=str)
    calls = json.dumps([getattr(message, "tool_calls", []) for message in messages], default=str)
    return len(text.encode()) + len(calls.encode()) + len(str(tools or "").encode()) + 16 * len(messages)


def plausible(usage: Any, worst: dict[str, int]) -> Any:
    """Return the usage if it can be true, else None: no negative number, none above the worst case."""
    if not usage:
        return None
    for field, most in worst.items():
        count = usage.get(field)
        if type(count) is not int or not 0 <= count <= most:
            return None
    cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
    if type(cached) is not int or not 0 <= cached <= usage["input_tokens"]:
        return None
    return {**usage, "total_tokens": usage["input_tokens"] + usage["output_tokens"]}


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

    options: dict[str, Any] = {"timeout": timeout_s, "max_retries": 0}
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
    )
