"""Checkpoints on their way in: whether they are there, can be talked to, and hold numbers."""

import re
from functools import partial
from pathlib import Path
from typing import Any

HUB_TIMEOUT_S = 5.0
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def find_checkpoint(name: str) -> str:
    """Return `name`, which is a folder with a checkpoint or the id of one on the hub.

    Raises ValueError, in one line, if it is neither; the hub is asked once, and only for what can be an id.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"{name}: the folder holds no config.json, so it is no checkpoint")
        return name
    if folder.exists():
        raise ValueError(f"{name}: a file; a checkpoint is a folder with config.json")
    if not _HUB_ID.fullmatch(name):
        raise ValueError(f"{name}: no such folder")
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return name
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"{name}: no such folder, and no such model in the hub's cache (HF_HUB_OFFLINE is set)"
        )
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
    except Exception as error:  # the hub's client raises errors of several libraries
        why = (str(error).strip().splitlines() or [""])[0][:120]
        raise ValueError(
            f"{name}: no such folder, and the hub gives no such model ({type(error).__name__}: {why})"
        ) from None
    return name


def read_tokenizer(name: str, chat_template: str | None = None) -> Any:
    """The tokenizer of a checkpoint. Raises ValueError in one line if there is none or it has no template."""
    from transformers import AutoTokenizer

    place = find_checkpoint(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: its tokenizer cannot be loaded: {why}") from None
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    require_template(tokenizer, name)
    return tokenizer


def require_template(tokenizer: Any, name: str) -> None:
    """Raise ValueError for a tokenizer without chat template."""
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name}: the tokenizer has no chat template, so there is no telling how the model expects a "
            f"conversation; set tokenizer.chat_template and save it, or load with chat_template=..."
        )


def read_weights(name: str, dtype: Any) -> Any:
    """The weights of a checkpoint, on the cpu. Raises ValueError in one line if they cannot be loaded."""
    from transformers import AutoModelForCausalLM

    load: Any = partial(AutoModelForCausalLM.from_pretrained, find_checkpoint(name))
    try:
        return load(dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: its weights cannot be loaded: {why}") from None


def check_weights(model: Any, name: str) -> None:
    """Raise ValueError if a weight is no number, as after a training that diverged."""
    for key, weight in model.named_parameters():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(
                f"{name}: the weights hold NaN or infinite values ({key}), as after a training that "
                f"diverged; take an earlier checkpoint"
            )
