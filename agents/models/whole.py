"""LangChain's client of OpenAI's protocol, with nothing of an answer left out."""

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult

REASONING = ("reasoning_content", "reasoning", "reasoning_details")
"""Fields of a message in which servers tell what a model thought; some want them back."""


def speaks(model: Any, tools: Any = ()) -> str:
    """The protocol of a model's requests if plateau knows it: 'completions', 'messages', or ''."""
    inner = getattr(model, "inner", model)
    kinds = {kind.__name__ for kind in type(inner).__mro__}
    if "BaseChatOpenAI" in kinds:
        return "" if inner._use_responses_api({"tools": list(tools)}) else "completions"
    return "messages" if "ChatAnthropic" in kinds else ""


def keep_all(model: Any) -> Any:
    """Make a ChatOpenAI keep what it drops of an answer; any other model is returned as it is.

    The choice as the server wrote it is then in the answer's `response_metadata["choice"]`, the fields of the
    message that LangChain has no place for are in its `additional_kwargs`, and reasoning goes back to the
    server under its own name with the tool calls that it led to.
    """
    if type(model).__name__ != "ChatOpenAI":
        return model
    from langchain_openai import ChatOpenAI

    if type(model) is not ChatOpenAI:
        return model

    class Whole(ChatOpenAI):
        def _create_chat_result(self, response: Any, generation_info: Any = None) -> ChatResult:
            result: ChatResult = super()._create_chat_result(response, generation_info)
            told = response if isinstance(response, dict) else response.model_dump(warnings=False)
            for generation, choice in zip(result.generations, told["choices"], strict=True):
                message = generation.message
                more = {k: v for k, v in choice["message"].items() if k in (*REASONING, "refusal") and v}
                message.additional_kwargs |= more
                message.response_metadata["choice"] = _said(choice)
            return result

        def _get_request_payload(self, input_: Any, *, stop: Any = None, **kwargs: Any) -> dict[str, Any]:
            payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
            given: list[BaseMessage] = self._convert_input(input_).to_messages()
            sent = payload.get("messages") or []
            for message, row in zip(given, sent, strict=len(sent) > 0):
                if isinstance(message, AIMessage) and row.get("tool_calls"):
                    row |= {k: v for k, v in message.additional_kwargs.items() if k in REASONING and v}
            return payload

    Whole.__name__ = ChatOpenAI.__name__
    model.__class__ = Whole
    return model


def _said(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice without the nulls that OpenAI's client adds where the server said nothing."""
    message = {k: v for k, v in choice["message"].items() if v is not None or k == "content"}
    rest = {k: v for k, v in choice.items() if v is not None or k == "finish_reason"}
    return {**rest, "message": message}
