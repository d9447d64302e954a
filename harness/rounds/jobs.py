"""The two kinds of job that a run consists of: prepare a training seed, then play its arms."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.attempts.models import Models
from plateau_bench.harness.callbacks import Progress
from plateau_bench.harness.config import parse_config
from plateau_bench.harness.learning.base_model import base_checkpoint
from plateau_bench.harness.learning.dataset import from_sample
from plateau_bench.harness.rounds.improve import Setting, improver_of
from plateau_bench.harness.rounds.measure import drift_samples, make_reference
from plateau_bench.harness.rounds.practice import practise
from plateau_bench.harness.rounds.round import evaluate, play_round
from plateau_bench.harness.rounds.suites import selection_tasks, suite_of, task_sets, variants
from plateau_bench.harness.rounds.workbench import Workbench
from plateau_bench.harness.seeds import derive
from plateau_bench.results.metrics.drift import Text
from plateau_bench.results.metrics.drift_values import Reference, in_turns
from plateau_bench.results.records import Purpose, RoundRecord
from plateau_bench.results.store import SHARED, RunStore, hold, read_json, record_to_json, write_json
from plateau_bench.sandbox import open_backend
from plateau_bench.tasks.suite import HumanSample


def run_job(root: Path, seed: int, arm: str, progress: Progress) -> None:
    """Play one arm of one seed, or prepare the seed if `arm` is SHARED; resumes what was begun."""
    store = RunStore(root)
    with ExitStack() as stack:
        # A killed run's worker may need a moment to die.
        stack.enter_context(hold(store.arm_lock(seed, arm), str(store.arm(seed, arm)), wait_s=10))
        bench = _bench(store, seed, arm, progress, stack)
        if arm == SHARED:
            prepare(bench)
        else:
            play_arm(bench)


def prepare(bench: Workbench) -> None:
    """Everything that the arms of a seed share: base checkpoint, reference, round 0."""
    reference = _reference(bench)
    marker = bench.shared.record
    if not marker.exists():
        metrics = evaluate(bench, reference, 0, bench.base, bench.base)
        record = RoundRecord(
            arm=SHARED, seed=bench.seed, metrics=metrics, checkpoint_in=bench.base, checkpoint_out=None
        )
        write_json(marker, record_to_json(record))
    if any(arm.strategy.trains for arm in bench.config.arms.values()):
        practise(bench, 0, bench.base)
    if bench.selection:
        bench.roll_out(0, bench.base, Purpose.SELECT)


def play_arm(bench: Workbench) -> None:
    """Round after round, from the first that is not finished."""
    reference = Reference.load(bench.store.reference(bench.seed))
    checkpoint = previous = bench.base
    finished = bench.store.finished_rounds(bench.seed, bench.arm_name)
    for index in range(bench.config.rounds + 1):
        bench.progress("round", index, bench.config.rounds + 1)
        if index < len(finished):
            record = finished[index]
        else:
            record = play_round(bench, reference, index, checkpoint, previous)
        previous, checkpoint = checkpoint, record.checkpoint_out or checkpoint
    bench.progress("round", bench.config.rounds + 1, bench.config.rounds + 1)


def _bench(store: RunStore, seed: int, arm: str, progress: Progress, stack: ExitStack) -> Workbench:
    """The tools of a job, as the run's manifest says; `stack` puts them away."""
    manifest = read_json(store.manifest)
    config = parse_config(manifest["config"], str(store.manifest))
    suite = suite_of(config, manifest)
    device, made = manifest["environment"]["device"], store.base(seed)
    base = base_checkpoint(config.model, suite, seed, made, device, progress)
    if config.model.path is None:
        base = store.name_of(made)
    models = Models(device, store.root)
    stack.callback(models.close)
    backend = open_backend(manifest["environment"]["sandbox"])
    grader = Grader(backend, store.verdicts)
    stack.callback(grader.close)
    train_tasks, held_out = task_sets(config, suite, seed)
    setting = Setting(root=store.root, base=base, models=models, train=config.train, arm=config.arms.get(arm))
    return Workbench(
        config=config,
        store=store,
        seed=seed,
        arm_name=arm,
        suite=suite,
        train_tasks=train_tasks,
        held_out=held_out,
        selection=selection_tasks(config, suite, seed, held_out),
        variants=variants(config, manifest, seed, held_out),
        base=base,
        backend=backend,
        grader=grader,
        improver=improver_of(config)(setting),
        progress=progress,
    )


def _reference(bench: Workbench) -> Reference:
    path = bench.store.reference(bench.seed)
    if not path.exists():
        settings = bench.config.evaluate
        tokenizer: Any = bench.tokenizer() if bench.has_weights else None

        def text(sample: HumanSample) -> Text:
            made = from_sample(tokenizer, sample, source="")
            if sample.chat:
                return in_turns(made.token_ids, made.loss_spans)
            return Text(token_ids=made.token_ids, start=made.loss_spans[0][0])

        corpus: Sequence[HumanSample] = ()
        human: Sequence[HumanSample] = ()
        if bench.suite.has_human_data and bench.has_weights:
            corpus = bench.suite.corpus(derive(bench.seed, "corpus"), 10 * settings.human_text)
            human = bench.suite.held_out_text(derive(bench.seed, "held-out text"), settings.human_text)
        attempts = bench.roll_out(0, bench.base, Purpose.EVALUATE)
        bank = drift_samples(bench, bench.base, attempts, "bank")
        make_reference([text(s) for s in corpus], [text(s) for s in human], bank).save(path)
    return Reference.load(path)
