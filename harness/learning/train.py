"""Supervised fine-tuning with transformers' Trainer: full weights, or LoRA merged back into them.

A whole round's training is one call. It depends only on the parent weights, the examples and the seed,
so repeating it after a crash gives the same checkpoint.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from plateau_bench.harness.learning.dataset import Example, batches, collate
from plateau_bench.harness.learning.settings import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, TrainingArguments

CHECKED = 20
"""Steps after which losses are looked at; each look waits for the device."""

Progress = Callable[[int, int], None]
"""(steps done, steps in all)."""
Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(logits (batch, length, vocabulary), labels (batch, length), -100 where there is no loss) -> a number."""


def fine_tune(
    model: "PreTrainedModel",
    examples: Sequence[Example],
    config: TrainConfig,
    *,
    pad_id: int | None,
    seed: int,
    weight_decay: float = 0.0,
    epochs: float | None = None,
    loss: Loss | None = None,
    plan: Sequence[list[Example]] = (),
    progress: Progress = lambda done, total: None,
) -> "PreTrainedModel":
    """Train on the loss spans of `examples` and return the model (the same object unless LoRA was merged).

    AdamW, betas .9/.97, gradient clip 1, 10 % warm-up, cosine to 10 % of the learning rate; bf16 on CUDA.
    `loss` stands in for the model's own mean cross-entropy.
    `plan` gives the batches, step by step; without one they are drawn from `examples` for `epochs`.
    Raises ValueError when there is nothing to learn from, and when the training diverges.
    """
    if not examples:
        raise ValueError("nothing to train on: no attempt was selected")
    from transformers import PrinterCallback, Trainer, TrainerCallback, set_seed

    from plateau_bench.agents.models.loading import check_weights

    set_seed(seed % 2**32)
    plan = list(plan) or batches(
        examples, batch_tokens=config.batch_tokens, epochs=epochs or config.epochs, seed=seed
    )
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()  # type: ignore[no-untyped-call]
    losses: list[Tensor] = []
    trainee: Any = _with_lora(model, config.lora_rank) if config.lora_rank else model

    class Planned(Trainer):
        """The Trainer, fed with batches that are planned ahead (padded tokens per step, not examples)."""

        def get_train_dataloader(self) -> Any:
            from torch.utils.data import DataLoader

            return DataLoader(plan, batch_size=None, collate_fn=lambda batch: collate(batch, pad_id))  # type: ignore[arg-type]

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            if loss is None:
                found: Any = super().compute_loss(model, inputs, *args, **options)
            else:
                labels = inputs.pop("labels")
                found = loss(model(**inputs).logits, labels)
            losses.append(found.detach())
            return found

    class Report(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, len(plan))
            if state.global_step % CHECKED == 0:
                _require_finite(losses, state.global_step)

    with tempfile.TemporaryDirectory(prefix="plateau-train-") as scratch:
        arguments = _arguments(
            config, scratch, len(plan), seed=seed, decay=weight_decay, on_gpu=model.device.type == "cuda"
        )
        trainer = Planned(trainee, arguments, train_dataset=plan, callbacks=[Report()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    _require_finite(losses, len(plan))
    if config.lora_rank:
        trainee = trainee.merge_and_unload()
    trained: PreTrainedModel = trainee.eval()
    check_weights(trained, "the trained model")
    return trained


def _require_finite(losses: list["Tensor"], step: int) -> None:
    """Raise ValueError if a loss since the last call was no number; forgets them."""
    import torch

    if losses and not bool(torch.stack(losses).isfinite().all()):
        raise ValueError(
            f"the training diverged: the loss was not a finite number by step {step}; lower "
            f"train.learning_rate, or look at the examples with 'plateau show'"
        )
    losses.clear()


def _arguments(
    config: TrainConfig, scratch: str, steps: int, *, seed: int, decay: float, on_gpu: bool
) -> "TrainingArguments":
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=scratch,
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        # The first step of a warm-up has a rate of 0, so a plan of a single step has none.
        warmup_steps=min(max(1, steps // 10), steps - 1),
        adam_beta2=0.97,
        weight_decay=decay,
        max_grad_norm=1.0,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=seed % 2**32,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def truncated_loss(logits: "Tensor", labels: "Tensor", gamma: float) -> "Tensor":
    """Truncated cross-entropy (ForTIFAI, 2509.08972): CE(p) where p <= gamma, else 0; mean over all labels.

    logits (batch, length, vocabulary), labels (batch, length) with -100 where there is no loss. p is the
    probability that the model being trained gives to the label now.
    """
    import torch

    labels = labels[:, 1:]
    there = labels != -100
    log_p = logits[:, :-1].float().log_softmax(-1)
    loss = -log_p.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    unsure = there & (torch.exp(-loss.detach()) <= gamma)
    return (loss * unsure).sum() / there.sum().clamp(min=1)


def mix_weights(model: "PreTrainedModel", anchor: "PreTrainedModel", share: float) -> None:
    """share x model + (1 - share) x anchor, into `model` (WiSE-FT, Wortsman et al. 2109.01903)."""
    import torch

    with torch.no_grad():
        for new, old in zip(model.parameters(), anchor.parameters(), strict=True):
            new.lerp_(old.to(new.device, new.dtype), 1 - share)


def _with_lora(model: "PreTrainedModel", rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ValueError(
            "train.lora_rank needs the package peft: pip install 'plateau-bench[lora]'"
        ) from None
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    )
