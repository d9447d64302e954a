"""Whose fault it is that a call of a model gave no answer: the one place that decides, for every way to fail.

A call ends in one of five ways. An answer. An answer that is thrown away (`ThrownAway`: it could not be read,
or broke off) and asked for again, at its price. Congestion (`Passing`): the call waits, and so does
everybody if the endpoint says for how long. `NotReached`: the patience is over, this attempt stays open. And
`ModelUnavailable`: waiting does not help, somebody has to mend something. None of the last four says anything
about the model, so none of them ever becomes an `Ending` or a verdict. The rule for HTTP:

=====================================  ==============================================================
401, 403                               ModelUnavailable: the key
402, or words of billing in any status ModelUnavailable: the account
404, other 4xx, 3xx, 501, 505          ModelUnavailable: model name, address, request
400, 413, 422                          RequestRefused (ContextFull if it is about length, Filtered if a
                                       provider's filter refuses the prompt: that is an answer)
408, 409, 425, 429, other 5xx          Passing, with Retry-After where given
never connected, name not found        Passing; ModelUnavailable if it was never reached before
broken connection, timeout             Passing
200 and no answer in it                ThrownAway
=====================================  ==============================================================
"""

import email.utils
import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from plateau_bench.agents.base import BudgetSpent, Ending, ModelUnavailable, NotReached

PASSING = frozenset({408, 409, 425, 429})
NO_SERVICE = frozenset({501, 505})
BILLING = ("insufficient_quota", "billing", "credit balance", "payment required", "insufficient balance")
"""In the text of any refusal: waiting does not help."""
ABOUT_LENGTH = re.compile(
    r"context.?(length|window|size)|maximum context|(prompt|input) is too long|too many (input )?tokens"
    r"|exceeds? the (maximum|available|model)|input tokens exceed|reduce the length",
    re.IGNORECASE,
)
ABOUT_FILTER = (
    "content_filter",
    "content management policy",
    "responsibleaipolicyviolation",
    "data_inspection",
)
UNKNOWN_PARAMETER = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|extra|not permitted|not allowed|unexpected"
    r"|not available|deprecated|not a valid|invalid parameter",
    re.IGNORECASE,
)
CONNECTING = frozenset({"ConnectError", "ConnectionRefusedError", "gaierror", "ConnectTimeout"})
BROKEN = frozenset({"APIConnectionError", "TransportError", "ConnectionError", "TimeoutError", "HTTPError"})
QUOTED = 300
"""Characters of a server's sentence that are quoted."""
_FINISHES = {
    Ending.TOKEN_LIMIT: {
        "length", "max_tokens", "max_output_tokens", "max_completion_tokens", "token_limit", "model_length",
        "model_context_window_exceeded",
    },
    Ending.CONTENT_FILTER: {
        "content_filter", "content_filtered", "safety", "recitation", "prohibited_content", "blocklist",
        "spii", "refusal", "image_safety", "guardrail_intervened",
    },
    Ending.ERROR: {"error", "server_error", "network_error", "insufficient_system_resource", "abort"},
}  # fmt: skip


class Passing(RuntimeError):
    """The same call may be answered later."""

    def __init__(self, text: str, retry_after: float | None = None, connected: bool = True) -> None:
        """`retry_after`: seconds that the endpoint asks to wait; `connected`: whether anybody was there."""
        super().__init__(text)
        self.retry_after, self.connected = retry_after, connected


class ThrownAway(RuntimeError):
    """The endpoint said 200 and something that is no answer."""


class Filtered(RuntimeError):
    """The provider refuses to let its model see the prompt. That is an answer: Ending.CONTENT_FILTER."""


class RequestRefused(ModelUnavailable):
    """The endpoint takes calls, but not this one."""

    def __init__(self, text: str, status: int = 400, sentence: str = "") -> None:
        super().__init__(text)
        self.status_code, self.sentence = status, sentence

    def names(self, parameter: str) -> bool:
        """Whether the endpoint says that it does not know or take the parameter at all."""
        word = re.search(rf"\b{parameter}\b", self.sentence)
        return bool(word and UNKNOWN_PARAMETER.search(self.sentence))


class ContextFull(RequestRefused):
    """The conversation and what may be written do not fit into the model's context.

    Before the first answer of an attempt that is a fault of the settings; after it, Ending.TOKEN_LIMIT.
    """


def cut_short(facts: Mapping[str, Any]) -> Ending | None:
    """Return how an answer broke off, from a message's `response_metadata`; None if it is whole.

    Providers spell their reasons in their own ways: length, MAX_TOKENS, FinishReason.SAFETY.
    """
    said = facts.get("finish_reason") or facts.get("stop_reason")
    reason = str(getattr(said, "name", said)).lower().rpartition(".")[2]
    return next((ending for ending, spellings in _FINISHES.items() if reason in spellings), None)


def fault_of(error: BaseException, model: str) -> BaseException | None:
    """Return what an exception of a call means: one of the classes here or of `agents.base`, ready to raise.

    None if it is none of them, so a mistake in plateau or in the agent's own code. `model` begins the line.
    """
    if isinstance(
        error, CancelledError | ModelUnavailable | NotReached | BudgetSpent | Passing | ThrownAway | Filtered
    ):
        return error
    body = _body(error)
    for status in (getattr(error, "status_code", None), getattr(error, "code", None), body.get("code")):
        if type(status) is int and 300 <= status < 600:
            return _refusal(error, body, status, model)
    names = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    root = [*_chain(error)][-1]
    why = str(root).strip() or type(root).__name__
    if names & {"TemplateError", "TemplateSyntaxError"} or "UndefinedError" in names:
        return ModelUnavailable(
            f"{model}: its chat template refuses the conversation: {why!r}; mend it or take a model "
            "whose template knows system messages and tool calls"
        )
    if names & (CONNECTING | BROKEN):
        return Passing(f"{model}: {why}"[:QUOTED], connected=not names & CONNECTING)
    return None


def fault_in_answer(error: BaseException, model: str) -> BaseException:
    """`fault_of` of an endpoint's call, where client libraries stumble over bodies that are no answers."""
    fault = fault_of(error, model)
    if fault is None and isinstance(error, Exception):
        return ThrownAway(f"{model}: {type(error).__name__}: {error}"[:QUOTED])
    return fault or error


def crash(error: Exception, model: str) -> str:
    """Return the words for an attempt that ended CRASHED. Raises what says nothing about the model."""
    fault = fault_of(error, model)
    if isinstance(fault, Passing | ThrownAway):
        raise NotReached(str(fault)) from error
    if isinstance(fault, Exception) and not isinstance(fault, Filtered):
        raise fault from (None if fault is error else error)
    return f"{type(error).__name__}: {error}"


def _refusal(error: BaseException, body: Mapping[str, Any], status: int, model: str) -> BaseException:
    said = _sentence(body.get("message") or body.get("detail") or str(error))
    text = f'{model}: the endpoint answers {status}: "{said}"'
    known = f"{said} {error} {dict(body)}".lower()
    if status == 402 or any(word in known for word in BILLING):
        return ModelUnavailable(f"{text}; see to the account, then give the same command again")
    if status in PASSING or (status >= 500 and status not in NO_SERVICE):
        return Passing(text, retry_after=_retry_after(error))
    if status in (400, 413, 422):
        if any(word in known for word in ABOUT_FILTER):
            return Filtered(text)
        if status == 413 or ABOUT_LENGTH.search(known):
            return ContextFull(
                f"{text}; lower limits.completion_tokens or take a longer context", status, said
            )
        return RequestRefused(f"{text}; {_parameter_fix(said)}", status, said)
    mend = {
        401: "the key is refused: set the right one (api_key_env, or the provider's variable)",
        403: "the key may not use this model: take another key or model",
        404: "see that the model's name and base_url are right",
    }.get(status, "see that base_url is right and speaks this protocol")
    return ModelUnavailable(f"{text}; {mend}")


def _parameter_fix(said: str) -> str:
    if re.search(r"\btemperature\b", said):
        return "leave temperature out of the agent's description"
    if re.search(r"\bmax(_completion)?_tokens\b|\bmax_output_tokens\b", said):
        return "lower limits.completion_tokens"
    return "the request is wrong for this endpoint: see the agent's description"


def _body(error: BaseException) -> Mapping[str, Any]:
    """The error object of a refusal; some gateways send it with the status 200 around it."""
    body: Any = getattr(error, "body", None) or (error.args[0] if error.args else None)
    while isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"] if isinstance(body["error"], Mapping) else {"message": body["error"]}
    return body if isinstance(body, Mapping) else {}


def _sentence(said: Any) -> str:
    """What the server said, as one short line without markup."""
    text = said if isinstance(said, str) else json.dumps(said, default=str)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:QUOTED]


def _retry_after(error: BaseException) -> float | None:
    """Seconds, from `Retry-After` (a number or a date) or `retry-after-ms`; None where there is none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = str(headers.get(name) or "").strip()
        try:
            seconds = float(text) / unit
        except ValueError:
            when = email.utils.parsedate_tz(text) if text else None
            if when is None:
                continue
            seconds = email.utils.mktime_tz(when) - time.time()
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, the first cause last."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
