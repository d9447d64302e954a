"""What an endpoint says beside its answers: usage that can be true, names, and the client that hears it."""

import ipaddress
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

ABSURD = 10**9
"""Tokens of one call: no model reads or writes so many."""


class Wire(threading.local):
    """What this thread's last call brought: client libraries drop it where they cannot read an answer."""

    body: Any = None

    def hear(self, response: Any) -> None:
        """Keep a response's body (a hook of the HTTP client)."""
        self.body = None
        response.read()
        with suppress(ValueError):
            self.body = response.json()

    def take(self) -> Mapping[str, Any]:
        """Return the body if it is an object, once."""
        body, self.body = self.body, None
        return body if isinstance(body, Mapping) else {}


def plausible(usage: Any) -> Any:
    """Return the usage if it can be true, else None: whole numbers, none negative, none absurd.

    A count above what was estimated is taken: templates and system texts of the provider are not seen from
    here. Where the total is larger than what was read and written, the rest was written as reasoning.
    """
    if not usage:
        return None
    read, written, total = (usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    if any(type(count) is not int or not 0 <= count <= ABSURD for count in (read, written)):
        return None
    if type(total) is int and read + written < total <= ABSURD:
        written = total - read
    cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
    if type(cached) is not int or not 0 <= cached <= read:
        return None
    return {**usage, "output_tokens": written, "total_tokens": read + written}


def usage_of(body: Mapping[str, Any]) -> Any:
    """LangChain's usage of a body in OpenAI's form, None if it has none."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping) or usage.get("prompt_tokens") is None:
        return None
    cached = usage.get("prompt_tokens_details")
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage.get("completion_tokens") or 0,
        "total_tokens": usage.get("total_tokens"),
        "input_token_details": {
            "cache_read": cached.get("cached_tokens") if isinstance(cached, Mapping) else None
        },
    }


def provider_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider calls its model, its system and its answer."""
    return {
        "model": said.get("model_name") or said.get("model"),
        "fingerprint": said.get("system_fingerprint"),
        "id": said.get("id"),
    }


def loopback(url: str | None) -> tuple[str, ...]:
    """The hosts that no proxy stands before: those of this machine, by all their names."""
    host = urlsplit(url or "").hostname or ""
    here = host.endswith(".localhost")
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        here = here or address.is_loopback or address.is_unspecified
    return ("localhost", "127.0.0.1", "::1", *([host] if here else []))


def http_client(url: str | None, wire: Wire, timeout_s: float) -> Any:
    """OpenAI's HTTP client, direct to loopback whatever HTTP_PROXY says, and overheard by `wire`."""
    from openai import DefaultHttpxClient

    direct = {f"all://[{host}]" if ":" in host else f"all://{host}": None for host in loopback(url)}
    return DefaultHttpxClient(mounts=direct, event_hooks={"response": [wire.hear]}, timeout=timeout_s)
