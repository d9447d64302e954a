"""What a chat template does with a conversation, found out by rendering and never assumed.

Published templates differ in what they refuse (system messages, two calls in one turn, ids that are not nine
letters long), in how a turn ends, and in what they rewrite of earlier turns. So every fact here is the
difference of two renderings of a conversation whose texts are marks of our own:

- The end of a turn is what stands behind the assistant's text, not `tokenizer.eos_token`.
- What a model has written stays as it was sampled. What comes behind it is what the template puts behind the
  same turn. Templates that render earlier turns in another way (reasoning cut out, the system message moved)
  change nothing of what was seen.
- The tokens that carry loss are what the model would have to write behind the generation prompt of each turn,
  its end included. They are put together turn by turn as they would be sampled, without {% generation %}.
- Text is tokenised and tokens are decoded behind the token they follow: at the start of a text some
  tokenizers add a space or drop one.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import count
from json import dumps
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.answers import MARKS
from plateau_bench.agents.base import ModelUnavailable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Chat = Sequence[Mapping[str, Any]]
Tools = Sequence[Any] | None
Spans = tuple[tuple[int, int], ...]

BEFORE, HERE, NEXT = "Zq3beforeq3Z", "Zq5hereq5Z", "Zq7nextq7Z"
"""Texts that no template changes and no conversation holds."""
_OPENED = {begin.lower(): close for begin, close in MARKS}


class ChatTemplate:
    """The chat template of a tokenizer, with what it refuses put into a form that it takes."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", name: str = "", stops: Sequence[int] = ()
    ) -> None:
        """`stops` are further ids that end a turn. Raises ModelUnavailable if nothing can be rendered."""
        self.tokenizer = tokenizer
        self.name = name or str(tokenizer.name_or_path) or "the tokenizer"
        self._configured = [one for one in (tokenizer.eos_token_id, *stops) if one is not None]
        self._known: dict[tuple[str, bool], str] = {}
        self._raw([{"role": "user", "content": BEFORE}])

    # What it takes.

    @cached_property
    def folds_system(self) -> bool:
        """Whether a system message is refused or left out, and so has to open the first user message."""
        text = self._try([{"role": "system", "content": HERE}, {"role": "user", "content": BEFORE}])
        return text is None or HERE not in text

    @cached_property
    def _arguments(self) -> Any:
        """What calls' arguments are given as: a table, or JSON as OpenAI has it; None if never shown."""
        texts = {}
        for form in (dict, dumps):
            chat = [{"role": "user", "content": BEFORE}, self._calling(form, HERE)]
            texts[form] = self._try(chat) or ""
        quoted = f'"{HERE}"'
        as_python = quoted not in texts[dict] and "{'command'" in texts[dict]
        if quoted in texts[dumps] and (as_python or HERE not in texts[dict]):
            return dumps
        return dict if HERE in texts[dict] else None

    @cached_property
    def one_call(self) -> bool:
        """Whether a turn may hold a single call only."""
        if self._arguments is None:
            return False
        two = self._calling(self._arguments, HERE, HERE)
        return self._try([{"role": "user", "content": BEFORE}, two]) is None

    def takes_tools(self, tools: Sequence[Any]) -> bool:
        """Whether the model is shown these tools, or at least its own calls."""
        asked = [{"role": "user", "content": BEFORE}]
        shown = self._try(asked, tools=list(tools))
        return self._arguments is not None or (shown is not None and shown != self._try(asked))

    def require_tools(self, tools: Sequence[Any]) -> None:
        """Raise ModelUnavailable if the template takes no tools."""
        if not self.takes_tools(tools):
            raise ModelUnavailable(
                f"{self.name}: the chat template takes no tools: it renders neither them nor calls; use an "
                f"agent of kind oneshot, or a checkpoint whose template knows tools"
            )

    # Rendering.

    def render(self, chat: Chat, tools: Tools = None, *, prompt: bool = False) -> str:
        """The text of a conversation; with `prompt`, up to where the model goes on.

        Raises ModelUnavailable, with the template's own words, if it refuses the conversation.
        """
        return self._raw(
            self._accepted(chat), tools=list(tools) if tools else None, add_generation_prompt=prompt
        )

    def added(self, chat: Chat, turn: int, tools: Tools = None) -> str:
        """What the template puts behind the end of the assistant's message `turn`, up to the next prompt."""
        text = self.render([*chat[:turn], _twin(chat[turn]), *chat[turn + 1 :]], tools, prompt=True)
        rest = _behind(text, HERE)
        end = self._turn_end(bool(chat[turn].get("tool_calls")))
        token = next((one for one in self._ends if end.endswith(one)), end)
        if not rest.startswith(token, len(end) - len(token)):  # before it, the id of a call may differ
            raise ModelUnavailable(
                f"{self.name}: the chat template renders turns of one kind in several ways; a "
                f"history cannot be continued with it"
            )
        return rest[len(end) :]

    def written(self, chat: Chat, turn: int, tools: Tools = None) -> str:
        """What the model has to write behind the prompt for the assistant's message `turn`, end included."""
        chat = [*chat[: turn - 1], {**chat[turn - 1], "content": BEFORE}, chat[turn]] if turn else [chat[0]]
        render = partial(self.render, tools=tools)
        prompt = _behind(render(chat[:-1], prompt=True), BEFORE) if turn else ""
        whole, twin = (
            _behind(render([*chat[:-1], last]), BEFORE) if turn else render([last])
            for last in (chat[-1], _twin(chat[-1]))
        )
        tail = _behind(twin, HERE)
        end = self._end_in(tail, bool(chat[-1].get("tool_calls")))
        start = len(common := commonprefix([prompt, twin]))
        if common != prompt:  # two marks may begin alike
            start = max(
                (common.rfind(one) + len(one) for one in self._special if one in common), default=start
            )
        text = whole[start : len(whole) - len(tail) + len(end)]
        if close := _OPENED.get(prompt[start:].strip().lower()):  # reasoning that the prompt has begun
            text = f"{close}\n\n{text}"
        return (
            text
            if any(end.endswith(one) for one in self._ends)
            else text + str(self.tokenizer.eos_token or "")
        )

    def answer(self, asked: Mapping[str, Any], text: str) -> str:
        """What the model has to write behind a single question to answer `text`, its end included."""
        frame = self._frame
        if frame is None:
            return self.written([asked, {"role": "assistant", "content": text}], 1)
        return f"{frame[0]}{text}{frame[1]}"

    @cached_property
    def _frame(self) -> tuple[str, str] | None:
        """What is written before and behind an answer, if the template leaves the answer as it is."""
        odd = f"  {HERE}\n\n{NEXT} \n"
        asked = {"role": "user", "content": BEFORE}
        before, found, behind = self.written([asked, {"role": "assistant", "content": odd}], 1).partition(odd)
        return (before, behind) if found else None

    def is_linear(self, chat: Chat, tools: Tools = None) -> bool:
        """Whether each prompt continues what was seen and written, if all is rendered anew each time."""
        seen = ""
        for turn, message in enumerate(chat):
            if message["role"] == "assistant":
                prompt = self.render(chat[:turn], tools, prompt=True)
                if not prompt.startswith(seen):
                    return False
                seen = prompt + self.written(chat, turn, tools)
        return True

    def conversation(self, chat: Chat, tools: Tools = None) -> tuple[tuple[int, ...], Spans]:
        """(token ids, half-open spans that the assistant wrote) of a conversation up to its last answer.

        Token by token what a model would have seen and written, had it said this.
        """
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        last: int | None = None
        for turn, message in enumerate(chat):
            if message["role"] != "assistant":
                continue
            if last is None:
                ids += self.ids(self.render(chat[:turn], tools, prompt=True))
            else:
                ids += self.ids(self.added(chat[:turn], last, tools), after=ids[-1])
            start, last = len(ids), turn
            ids += self.ids(self.written(chat, turn, tools), after=ids[-1] if ids else None)
            spans.append((start, len(ids)))
        return tuple(ids), tuple(spans)

    # Text and tokens.

    @cached_property
    def stop_ids(self) -> list[int]:
        """The ids that end a turn: the configured ones, and the one that the template writes behind it."""
        found: Any = [self.tokenizer.convert_tokens_to_ids(one) for one in self._own_ends]
        return sorted({*self._configured, *found})

    def ids(self, text: str, *, after: int | None = None) -> list[int]:
        """The token ids of a text that follows the token `after`."""
        tokenizer: Any = self.tokenizer
        encode = partial(tokenizer, add_special_tokens=False)
        if after is not None:
            anchor = str(self.tokenizer.convert_ids_to_tokens(after))
            if anchor in self._special:
                found = list(encode(anchor + text)["input_ids"])
                if found[:1] == [after]:
                    return found[1:]
        return list(encode(text)["input_ids"])

    def text(self, ids: Sequence[int], *, after: int | None = None) -> str:
        """The text of token ids that follow the token `after`: what `ids` would make them from."""
        text = self._decoded(ids, after)
        return text[1:] if self._adds_space and text.startswith(" ") else text

    def _decoded(self, ids: Sequence[int], after: int | None) -> str:
        decode: Any = partial(
            self.tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        if after is not None and str(self.tokenizer.convert_ids_to_tokens(after)) in self._special:
            head, whole = decode([after]), decode([after, *ids])
            if whole.startswith(head):
                return str(whole[len(head) :])
        return str(decode(list(ids)))

    @cached_property
    def _adds_space(self) -> bool:
        """Whether tokenising puts a space before a text that follows a special token."""
        anchor = next(iter(self.stop_ids), None)
        return self._decoded(self.ids("x", after=anchor), anchor) == " x"

    @cached_property
    def _special(self) -> frozenset[str]:
        return frozenset(self.tokenizer.all_special_tokens) | frozenset(self.tokenizer.get_added_vocab())

    # Ends of turns.

    @cached_property
    def _ends(self) -> frozenset[str]:
        """The texts of the stop tokens, and of what stands for them in a turn that is not the last."""
        names = {str(self.tokenizer.convert_ids_to_tokens(one)) for one in self.stop_ids}
        middle = self._special_at(self._between(calls=False)) if self._own_ends else ""
        return frozenset({*names, middle} - {""})

    @cached_property
    def _own_ends(self) -> list[str]:
        """The special tokens that the template writes behind the last turn, if it ends turns at all."""
        plain = self._special_at(self._tail(calls=False))
        if not plain or self._arguments is None or plain in (last := self._tail(calls=True)):
            return [plain] if plain else []
        other = max((one for one in self._special if one in last), key=last.rfind, default=plain)
        return [plain, other]

    def _turn_end(self, calls: bool) -> str:
        """What stands between the last text of a turn that is not the last and its end, that end included."""
        if ("end", calls) not in self._known:
            self._known["end", calls] = self._end_in(self._between(calls), calls)
        return self._known["end", calls]

    def _end_in(self, tail: str, calls: bool) -> str:
        """The beginning of `tail`, the text behind the last word of a turn, that the model has to write."""
        found = [(tail.find(one), one) for one in self._ends if one in tail]
        if found:
            position, one = min(found)
            return tail[: position + len(one)]
        if not calls:
            return ""
        # Without an end of turn: what stands behind the last argument and not behind a text.
        plain, last = self._tail(calls=False), self._tail(calls=True)
        names = [one for one in self._special if one in last]
        if last.endswith(plain) and (plain or not names):
            return last[: len(last) - len(plain)] if tail.startswith(last[: len(last) - len(plain)]) else ""
        position = max((last.rfind(one) + len(one) for one in names), default=0)
        return last[:position] if tail.startswith(last[:position]) else ""

    def _tail(self, calls: bool) -> str:
        """What stands behind the last word of an assistant's message at the end of a conversation."""
        if ("tail", calls) not in self._known:
            asked = {"role": "user", "content": BEFORE}
            self._known["tail", calls] = _behind(self.render([asked, self._probe(calls)]), HERE)
        return self._known["tail", calls]

    def _between(self, calls: bool) -> str:
        """The same before a next message, up to that message's text."""
        role = "tool" if calls else "user"
        follows = {"role": role, "content": NEXT} | ({"tool_call_id": _id(0)} if calls else {})
        text = self.render([{"role": "user", "content": BEFORE}, self._probe(calls), follows])
        return _behind(text, HERE).partition(NEXT)[0]

    def _probe(self, calls: bool) -> dict[str, Any]:
        return self._calling(dict, HERE) if calls else {"role": "assistant", "content": HERE}

    def _special_at(self, text: str) -> str:
        """The special token that a text begins with, but for spaces."""
        text = text.lstrip()
        return max(
            (one for one in self._special if one.strip() and text.startswith(one)), key=len, default=""
        )

    # What it is given.

    def _accepted(self, chat: Chat) -> list[dict[str, Any]]:
        """The conversation in the form that the template takes."""
        made = [dict(message) for message in chat]
        if len(made) > 1 and made[0]["role"] == "system" and self.folds_system:
            system = made.pop(0)
            first = next((m for m in made if m["role"] == "user"), None)
            if first is None:
                raise ModelUnavailable(f"{self.name}: the chat template takes no system message alone")
            first["content"] = f"{system['content']}\n\n{first['content']}"
        answered: dict[str, dict[str, Any]] = {}
        numbers = count()
        for message in made:
            if calls := message.get("tool_calls"):
                message["tool_calls"] = [self._call(one, next(numbers)) for one in calls]
                answered |= {
                    str(one.get("id") or ""): new
                    for one, new in zip(calls, message["tool_calls"], strict=True)
                }
                if self.one_call:
                    message["tool_calls"] = message["tool_calls"][-1:]
            if message["role"] == "tool" and (call := answered.get(str(message.get("tool_call_id") or ""))):
                message |= {"tool_call_id": call["id"], "name": call["function"]["name"]}
        return made

    def _call(self, call: Mapping[str, Any], number: int) -> dict[str, Any]:
        arguments = call["function"]["arguments"]
        if self._arguments is dumps and not isinstance(arguments, str):
            arguments = dumps(arguments, ensure_ascii=False)
        function = {**call["function"], "arguments": arguments}
        return {**call, "id": _id(number), "function": function}

    @staticmethod
    def _calling(form: Any, *values: str) -> dict[str, Any]:
        calls = [
            {
                "type": "function",
                "id": _id(i),
                "function": {"name": "bash", "arguments": form({"command": value})},
            }
            for i, value in enumerate(values)
        ]
        return {"role": "assistant", "content": "", "tool_calls": calls}

    def _raw(self, chat: Chat, **options: Any) -> str:
        try:
            render: Any = self.tokenizer.apply_chat_template
            return str(render(list(chat), tokenize=False, **options))
        except Exception as error:  # a template is a program of its own and raises what it likes
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelUnavailable(
                f"{self.name}: the chat template refuses the conversation: {why}"
            ) from None

    def _try(self, chat: Chat, **options: Any) -> str | None:
        try:
            return self._raw(chat, **options)
        except ModelUnavailable:
            return None


@lru_cache(maxsize=16)
def _template(tokenizer: Any, source: str, end: str, name: str) -> ChatTemplate:
    return ChatTemplate(tokenizer, name)


def template_of(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate:
    """The chat template of a tokenizer, found out about once."""
    return _template(
        tokenizer, str(tokenizer.chat_template), str(tokenizer.eos_token), str(tokenizer.name_or_path)
    )


def _id(number: int) -> str:
    """Nine letters and digits: what every template takes."""
    return f"call{number:05d}"


def _behind(text: str, mark: str) -> str:
    if mark not in text:
        raise ModelUnavailable(
            "the chat template leaves out what was said; a conversation cannot be rendered"
        )
    return text[text.rfind(mark) + len(mark) :]


def _twin(message: Mapping[str, Any]) -> dict[str, Any]:
    """The same turn with a mark as its last word; of several calls the last alone."""
    made = dict(message)
    if calls := message.get("tool_calls"):
        call = calls[-1]
        made["content"] = HERE if str(message.get("content") or "").strip() else ""
        made["tool_calls"] = [{**call, "function": {**call["function"], "arguments": {"command": HERE}}}]
    else:
        made["content"] = HERE
    return made
