"""Measures against SciPy, scikit-learn, torch-fidelity, closed forms and loops written here."""

import dataclasses
import inspect
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.special import softmax

from minisn import Tensor, nn
from minisn.data import load
from minisn.errors import (
    ComparisonError,
    ConfigError,
    DataError,
    DTypeError,
    NonFiniteError,
    ShapeError,
)
from minisn.metrics import (
    NETWORKS,
    Extractor,
    Sample,
    accuracy,
    check_alike,
    cubic_kernel,
    extractor,
    extractor_for,
    frechet_distance,
    gaussian_frechet,
    inception_score,
    intra_class_similarity,
    kernel_distance,
    measure_images,
    mmd2,
    ms_ssim,
    neighbors,
    networks,
    precision_recall,
    repeated,
    scales_for,
    similarity,
    train_features,
)
from minisn.optim import Adam

seeds = st.integers(0, 2**32 - 1)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def features(n, d, seed=0, shift=0.0, source="some"):
    rng = rng_of(seed)
    return Sample(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + shift, source)


def covariance(d, seed):
    a = rng_of(seed).normal(size=(d, 2 * d))
    return a @ a.T / (2 * d)


# -- Fréchet distance --------------------------------------------------------------------------


@given(seeds, st.integers(1, 12))
def test_frechet_is_equation_24_with_scipys_root(seed, d):
    mu_1, mu_2 = rng_of(seed).normal(size=(2, d))
    C_1, C_2 = covariance(d, seed), covariance(d, seed + 1)
    root = scipy.linalg.sqrtm(C_1 @ C_2)
    expected = ((mu_1 - mu_2) ** 2).sum() + np.trace(C_1 + C_2 - 2 * root.real)
    assert gaussian_frechet(mu_1, C_1, mu_2, C_2) == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_frechet_of_diagonal_gaussians_in_closed_form():
    mu_1, mu_2, s_1, s_2 = np.abs(rng_of().normal(size=(4, 7)))
    s_1[2] = s_2[2] = s_1[4] = 0.0  # singular covariances too
    expected = ((mu_1 - mu_2) ** 2).sum() + ((s_1 - s_2) ** 2).sum()
    value = gaussian_frechet(mu_1, np.diag(s_1**2), mu_2, np.diag(s_2**2))
    assert value == pytest.approx(expected, rel=1e-13)


def test_frechet_of_singular_covariances_keeps_its_digits():
    # both live on one 3-dimensional subspace of 40 dimensions, where the answer is known
    basis, _ = np.linalg.qr(rng_of().normal(size=(40, 3)))
    C_1, C_2, zero = covariance(3, 1), covariance(3, 2), np.zeros(40)
    expected = gaussian_frechet(np.zeros(3), C_1, np.zeros(3), C_2)
    value = gaussian_frechet(zero, basis @ C_1 @ basis.T, zero, basis @ C_2 @ basis.T)
    assert value == pytest.approx(expected, rel=1e-12)
    assert gaussian_frechet(zero, np.zeros((40, 40)), zero, np.zeros((40, 40))) == 0


@given(seeds)
def test_frechet_is_symmetric_and_turns_with_the_features(seed):
    a, b = features(60, 5, seed), features(80, 5, seed + 1, shift=0.3)
    turn, _ = np.linalg.qr(rng_of(seed).normal(size=(5, 5)))
    value = frechet_distance(a, b).value
    assert frechet_distance(b, a).value == pytest.approx(value, rel=1e-10)
    turned = frechet_distance(Sample(a.values @ turn + 2, "a"), Sample(b.values @ turn + 2, "b"))
    assert turned.value == pytest.approx(value, rel=1e-9)


def test_frechet_of_equal_features_is_zero_and_of_shifted_ones_the_shift():
    a = features(100, 6)
    assert frechet_distance(a, a).value == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, Sample(a.values + 0.5, "b")).value == pytest.approx(6 * 0.25)


def test_covariances_are_unbiased():
    a, b = Sample([[0.0], [2.0]], "a"), Sample([[0.0], [0.0], [0.0]], "b")
    assert frechet_distance(a, b).value == pytest.approx(1 + 2)  # (1 - 0)^2 + (sqrt 2 - 0)^2


@pytest.mark.filterwarnings("default")
def test_few_images_warn_and_one_is_refused():
    many = features(50, 8)
    with pytest.warns(UserWarning, match=r"few: with 8 images the covariance of 8 ") as warned:
        frechet_distance(features(8, 8, source="few"), many)
    assert warned[0].filename == __file__  # the caller's line, who can take more
    with pytest.raises(ShapeError, match="one has 1 image; expected at least 2 for a covariance"):
        frechet_distance(many, features(1, 8, source="one"))


def test_frechet_is_never_below_zero():
    rng = rng_of(1)
    for d in range(1, 30):  # rounding alone would make some of them so
        a = rng.normal(size=(40, d)) * 1e3
        assert (
            gaussian_frechet(
                a.mean(0), np.atleast_2d(np.cov(a.T)), a.mean(0), np.atleast_2d(np.cov(a.T))
            )
            >= 0
        )


# -- kernel distance ---------------------------------------------------------------------------


def test_cubic_kernel_is_scikit_learns():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise", reason="needs scikit-learn")
    x, y = features(9, 5).values, features(7, 5, 1).values
    expected = pairwise.polynomial_kernel(x, y, degree=3)  # gamma 1/d, coef0 1 by default
    np.testing.assert_allclose(cubic_kernel(x, y), expected, rtol=1e-12)


def test_mmd_is_its_sums_written_out():
    x, y = features(5, 3).values, features(6, 3, 1).values

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    between = sum(k(a, b) for a in x for b in y) / (5 * 6)
    assert mmd2(x, y) == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_mmd_has_no_bias():
    # E k(x, x') of standard normals in one dimension: E (xx' + 1)^3 = 1 + 3 E x^2 E x'^2 = 4;
    # about a mean of 1 it is E (1 + y)^3 = 1 + 3 + 3*4 + 16 = 32 with y = xx', E y^2 = 4, E y^3 =
    # 16; between the two, E (xx' + 1)^3 = 1 + 3 * 2 = 7
    rng = rng_of(3)
    values = [mmd2(rng.normal(size=(40, 1)), rng.normal(1, 1, size=(40, 1))) for _ in range(3000)]
    assert np.mean(values) == pytest.approx(4 + 32 - 2 * 7, abs=4 * np.std(values) / 3000**0.5)
    same = [mmd2(rng.normal(size=(20, 1)), rng.normal(size=(20, 1))) for _ in range(3000)]
    assert np.mean(same) == pytest.approx(0, abs=4 * np.std(same) / 3000**0.5)


def test_kernel_distance_of_whole_sets_is_the_mmd():
    a, b = features(30, 4), features(30, 4, 1, shift=1)
    result = kernel_distance(a, b, rng_of(), subsets=3, size=30)
    assert result.value == pytest.approx(mmd2(a.values, b.values), rel=1e-12)
    assert result.spread is None  # every subset is the whole
    parts = kernel_distance(a, b, rng_of(), subsets=20, size=10)
    assert parts.spread > 0.01
    assert parts == kernel_distance(a, b, rng_of(), subsets=20, size=10)


def test_the_least_that_can_be_measured():
    a, b = features(2, 3), features(2, 3, 1)
    assert kernel_distance(a, b, rng_of(), subsets=1, size=2).value == mmd2(
        *(s.values[rng.choice(2, 2, replace=False)] for rng in [rng_of()] for s in (a, b))
    )
    with pytest.raises(ShapeError, match="mmd2: got 2 and 1 rows; expected at least two"):
        mmd2(a.values, b.values[:1])


@pytest.mark.parametrize(("subsets", "size"), [(0, 10), (5, 1), (5, 21)])
def test_impossible_subsets_are_refused(subsets, size):
    with pytest.raises(ConfigError, match="of 2 to 20 images, from 20 and 30 images"):
        kernel_distance(features(20, 2), features(30, 2), rng_of(), subsets, size)


# -- precision and recall ----------------------------------------------------------------------


def test_precision_and_recall_by_hand():
    # radii to the nearest: 1 about 0 and 1, 3 about 4; 2 about 1.5 and 3.5, 96.5 about 100
    real = Sample([[0.0], [1.0], [4.0]], "real")
    fake = Sample([[1.5], [3.5], [100.0]], "fake")
    precision, recall = precision_recall(fake, real, k=1)
    assert precision.value == pytest.approx(2 / 3)
    assert recall.value == pytest.approx(3 / 3)  # 0 is 1.5 from 1.5
    precision, recall = precision_recall(real, fake, k=1)
    assert (precision.value, recall.value) == pytest.approx((1, 2 / 3))
    edge = Sample([[2.0], [9.0]], "edge")  # 1 from the ball's middle, and its radius is 1
    assert precision_recall(edge, Sample([[0.0], [1.0]], "real"), k=1)[0].value == 0.5


@pytest.mark.parametrize("k", [1, 3, 7])
def test_precision_and_recall_with_scikit_learns_neighbors(k, monkeypatch):
    theirs = pytest.importorskip("sklearn.neighbors", reason="needs scikit-learn")
    monkeypatch.setattr(neighbors, "_ROWS", 7)  # several blocks of rows
    fake, real = features(60, 3, shift=3.0), features(40, 3, 1)

    def share(x, y):
        found = theirs.NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(y)
        radius = found.kneighbors()[0][:, -1]  # of the rows themselves, each left out
        return (cdist(x, y) <= radius).any(1).mean()

    precision, recall = precision_recall(fake, real, k)
    assert precision.value == pytest.approx(share(fake.values, real.values), abs=1e-12)
    assert recall.value == pytest.approx(share(real.values, fake.values), abs=1e-12)
    assert 0.05 < precision.value < 0.95


def test_precision_and_recall_of_equal_and_of_distant_sets():
    a = features(50, 4)
    assert [s.value for s in precision_recall(a, a)] == [1, 1]
    assert [s.value for s in precision_recall(a, Sample(a.values + 1e3, "b"))] == [0, 0]
    collapsed = Sample(np.repeat(a.values[:1], 50, 0), "one real image, again and again")
    precision, recall = precision_recall(collapsed, a)
    assert (precision.value, recall.value) == (1, 1 / 50)


@pytest.mark.parametrize("k", [0, 5])
def test_impossible_neighbors_are_refused(k):
    with pytest.raises(ConfigError, match=f"k = {k}; expected from 1 to 4"):
        precision_recall(features(5, 2), features(9, 2), k)


# -- the inception score's formula -------------------------------------------------------------


@given(seeds, st.integers(2, 12))
def test_score_is_its_formula_and_between_one_and_the_classes(seed, classes):
    p = softmax(3 * rng_of(seed).normal(size=(40, classes)), axis=1)
    result = inception_score(Sample(p, "p"), splits=4)
    expected = []
    for part in np.split(p, 4):
        kl = [
            sum(q * math.log(q / m) for q, m in zip(row, part.mean(0), strict=True)) for row in part
        ]
        expected.append(math.exp(np.mean(kl)))
    assert result.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert result.spread == pytest.approx(np.std(expected), rel=1e-9)
    assert 1 <= result.value <= classes


def test_score_at_its_ends():
    uniform = Sample(np.full((30, 10), 0.1), "uniform")
    sure = Sample(np.eye(10)[np.arange(30) % 10], "sure")
    one_class = Sample(np.eye(10)[np.zeros(30, int)], "one class")
    assert inception_score(uniform, 3).value == pytest.approx(1, abs=1e-12)
    assert inception_score(sure, 3).value == pytest.approx(10, rel=1e-12)
    assert inception_score(sure, 3).spread == pytest.approx(0, abs=1e-12)
    assert inception_score(one_class, 1).value == pytest.approx(1, abs=1e-12)
    assert inception_score(one_class, 1).spread is None
    assert inception_score(one_class, 1).provenance.measure == "inception-style score, 1 split"
    assert inception_score(one_class, 2).provenance.measure == "inception-style score, 2 splits"
    assert inception_score(one_class, 2).spread == 0


def test_what_is_no_probability_is_refused():
    below = np.array([[1.5, -0.5]])
    for values in (below, np.eye(3) - 0.1, np.full((4, 3), 0.5), np.full((2, 1, 1), 1.0)):
        with pytest.raises(ShapeError, match="apply a softmax"):
            inception_score(Sample(values, "logits"), 1)
    for splits in (0, 4):
        with pytest.raises(ConfigError, match="from 1 to 3 splits"):
            inception_score(Sample(np.eye(3), "p"), splits)


# -- torch-fidelity on the same features -------------------------------------------------------


@pytest.mark.needs("torch_fidelity")
def test_all_are_torch_fidelitys(torch):
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    a, b = features(400, 12, 1, shift=0.2), features(300, 12, 2)
    x, y = torch.from_numpy(a.values), torch.from_numpy(b.values)
    moments = [metric_fid.fid_features_to_statistics(t) for t in (x, y)]
    fid = metric_fid.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert frechet_distance(a, b).value == pytest.approx(fid, rel=1e-9)
    kid = metric_kid.kid_features_to_metric(
        x, y, kid_subsets=9, kid_subset_size=100, rng_seed=5, verbose=False
    )
    ours = kernel_distance(a, b, np.random.RandomState(5), 9, 100)
    assert ours.value == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.spread == pytest.approx(kid["kernel_inception_distance_std"], rel=1e-9)
    prc = metric_prc.prc_features_to_metric(x, y, prc_neighborhood=3, verbose=False)
    precision, recall = precision_recall(a, b)
    assert precision.value == pytest.approx(prc["precision"], abs=1e-6)
    assert recall.value == pytest.approx(prc["recall"], abs=1e-6)
    isc = metric_isc.isc_features_to_metric(x, splits=5, shuffle=False)
    ours = inception_score(Sample(softmax(a.values, axis=1), "p"), 5)
    assert ours.value == pytest.approx(isc["inception_score_mean"], rel=1e-9)
    assert ours.spread == pytest.approx(isc["inception_score_std"], rel=1e-9)


# -- MS-SSIM -----------------------------------------------------------------------------------


def direct_ms_ssim(x, y, scales):
    """One pair of gray images, a window after the other; all five exponents, cut and scaled."""
    place = np.arange(11) - 5
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()
    exponents = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    exponents, result = exponents / exponents.sum(), 1.0
    for j in range(scales):
        values = []
        for r in range(x.shape[0] - 10):
            for c in range(x.shape[1] - 10):
                a, b = x[r : r + 11, c : c + 11], y[r : r + 11, c : c + 11]
                m_a, m_b = (window * a).sum(), (window * b).sum()
                v_a, v_b = (window * (a - m_a) ** 2).sum(), (window * (b - m_b) ** 2).sum()
                v_ab = (window * (a - m_a) * (b - m_b)).sum()
                value = (2 * v_ab + 58.5225) / (v_a + v_b + 58.5225)
                if j == scales - 1:
                    value *= (2 * m_a * m_b + 6.5025) / (m_a**2 + m_b**2 + 6.5025)
                values.append(value)
        result *= max(np.mean(values), 0) ** exponents[j]
        rows, columns = x.shape[0] // 2, x.shape[1] // 2
        x, y = (
            np.array(
                [
                    [i[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() for c in range(columns)]
                    for r in range(rows)
                ]
            )
            for i in (x, y)
        )
    return result


@pytest.mark.parametrize(
    ("height", "width", "scales"), [(28, 28, 2), (23, 31, 2), (12, 11, 1), (44, 47, 3)]
)
def test_ms_ssim_is_a_direct_computation(height, width, scales):
    rng = rng_of(height)
    x = np.cumsum(rng.normal(size=(2, 1, height, width)), axis=3) * 12 + 128
    y = 0.7 * x + 30 * rng.random(x.shape)
    x, y = np.clip(x, 0, 255), np.clip(y, 0, 255)
    assert scales_for(height, width) == scales
    expected = [direct_ms_ssim(a[0], b[0], scales) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ms_ssim(x, y), expected, rtol=1e-9)
    assert 0.1 < expected[0] < 0.99


def test_ms_ssim_of_equal_opposite_and_colored_images():
    x = rng_of().integers(0, 256, (3, 3, 28, 28), np.uint8)
    assert (ms_ssim(x, x) == 1).all()
    assert ms_ssim(x, 255 - x) == pytest.approx(0)  # a negative mean counts as 0
    y = rng_of(1).integers(0, 256, x.shape, np.uint8) // 2 + x // 2
    single = [ms_ssim(x[:, [c]], y[:, [c]]) for c in range(3)]
    np.testing.assert_allclose(ms_ssim(x, y), np.mean(single, 0), rtol=1e-12)
    np.testing.assert_allclose(ms_ssim(x, y), ms_ssim(y, x), rtol=1e-12)


def test_settings_are_the_publications():
    defaults = {
        inception_score: {"splits": 10},
        kernel_distance: {"subsets": 100, "size": 1000},
        precision_recall: {"k": 3},
    }
    for measure, expected in defaults.items():
        parameters = inspect.signature(measure).parameters
        assert {name: parameters[name].default for name in expected} == expected
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. (2003), of five scales
    assert weights == similarity.WEIGHTS


def test_scales_and_shapes_that_do_not_fit():
    assert [scales_for(n, n) for n in (11, 21, 22, 28, 32, 43, 44, 48, 87, 88, 176, 999)] == [
        1,
        1,
        2,
        2,
        2,
        2,
        3,
        3,
        3,
        4,
        5,
        5,
    ]
    small = np.zeros((1, 1, 10, 20))
    with pytest.raises(ShapeError, match=r"10 x 20 pixels are smaller than the window, 11 x 11"):
        ms_ssim(small, small)
    with pytest.raises(ShapeError, match="of one shape"):
        ms_ssim(np.zeros((1, 1, 20, 20)), np.zeros((2, 1, 20, 20)))


def images_of(classes, per_class, noise):
    rng = rng_of()
    base = np.repeat(rng.integers(0, 200, (classes, 1, 16, 16)), per_class, 0)
    pixels = base + rng.integers(0, noise, base.shape)
    return Sample(pixels.astype(np.uint8), "made"), np.repeat(np.arange(classes), per_class)


def test_similarity_within_a_class_is_the_mean_over_pairs():
    images, labels = images_of(3, 2, noise=50)  # two images a class: each pair is the same pair
    result = intra_class_similarity(images, labels, 4, rng_of(), pairs=5)
    expected = ms_ssim(images.values[::2], images.values[1::2])
    assert result.value == pytest.approx(expected.mean(), rel=1e-12)
    assert result.spread == pytest.approx(expected.std(), rel=1e-9)


def test_similarity_pairs_different_images_and_sees_a_collapse():
    images, labels = images_of(2, 30, noise=150)
    varied = intra_class_similarity(images, labels, 2, rng_of())
    assert varied.value < 0.9  # an image paired with itself would add 1s
    collapsed, labels = images_of(2, 30, noise=1)
    assert intra_class_similarity(collapsed, labels, 2, rng_of()).value == 1
    pairs = [intra_class_similarity(images, labels, 2, rng_of(s), pairs=1).value for s in range(40)]
    assert max(pairs) < 0.99


@pytest.mark.parametrize("labels", [[0, 0, 0, 2], [-1, 0, 0, 0], [0, 0, 0], [], [0, 0, 0.5, 1]])
def test_labels_out_of_range_are_refused(labels):
    images, _ = images_of(2, 2, noise=5)
    with pytest.raises(ShapeError, match="expected 4 labels, whole numbers from 0 to 1"):
        intra_class_similarity(images, np.array(labels), 2, rng_of())


def test_images_without_pairs_or_as_floats_are_refused():
    images, _ = images_of(2, 1, noise=5)
    with pytest.raises(ConfigError, match="no class of made has two images"):
        intra_class_similarity(images, np.arange(2), 2, rng_of())
    for beyond in (-0.5, 255.5):
        with pytest.raises(DTypeError, match="not a number from 0 to 255"):
            ms_ssim(np.full((1, 1, 16, 16), beyond), np.zeros((1, 1, 16, 16)))
    with pytest.raises(DTypeError, match="expected uint8"):
        intra_class_similarity(Sample(images.values / 1.0, "x"), np.zeros(2, int), 2, rng_of())


# -- provenance --------------------------------------------------------------------------------


def test_scores_of_like_provenance_compare():
    real = features(90, 3, 5, source="real")
    near, far = (frechet_distance(features(90, 3, 5, shift, "x"), real) for shift in (0.1, 3))
    assert near < far
    assert far > near
    assert near <= far
    assert not far <= near
    assert near <= near
    assert not near < near
    assert min(far, near) is near
    assert near.provenance == far.provenance
    assert (near.provenance.samples, near.provenance.references) == (90, 90)
    assert (near.provenance.reference, near.of) == ("real", "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "test half"}, "reference is 'real' and 'test half'"),
        ({"n": 80}, "references is 90 and 80"),
        ({"fakes": 70}, "samples is 90 and 70"),
        ({"extractor": "inception"}, "extractor is 'unknown' and 'inception'"),
        ({"digest": "abc"}, "digest is 'unknown' and 'abc'"),
        ({"size": 20}, "kernel distance, 4 subsets of 20"),
    ],
)
def test_scores_of_unlike_provenance_do_not_compare(change, words):
    def scored(source="real", n=90, fakes=90, size=30, **of):
        sets = (features(fakes, 3, 1).values, features(n, 3, 2).values)
        fake, real = (Sample(v, s, **of) for v, s in zip(sets, ("fake", source), strict=True))
        return kernel_distance(fake, real, rng_of(), 4, size)

    for comparison in ("__lt__", "__le__", "__gt__"):
        with pytest.raises(ComparisonError, match=words) as caught:
            if comparison == "__gt__":
                assert scored(**change) > scored()  # Python asks the other one
            else:
                getattr(scored(), comparison)(scored(**change))
        assert "Measure both in the same way" in str(caught.value)
    check_alike(scored(), scored())


def test_features_of_unlike_networks_or_dimensions_are_not_measured():
    a = features(10, 3)
    with pytest.raises(ComparisonError, match="use one extractor for both"):
        frechet_distance(a, dataclasses.replace(a, extractor="inception"))
    with pytest.raises(ComparisonError, match=r"\(unknown\), those of some from unknown \(0123"):
        precision_recall(a, dataclasses.replace(a, digest="0123"))
    for other in (features(10, 4), Sample(np.zeros((10, 3, 1)), "images")):
        with pytest.raises(ShapeError, match="of one dimension"):
            kernel_distance(a, other, rng_of(), size=5)


def test_samples_that_are_no_numbers_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteError, match="odd: a value is a NaN or an infinity, or above"):
            Sample(np.array([[1.0, bad]]), "odd")
    assert Sample(np.array([[1e50, -1e50]]), "at the end").values.max() == 1e50
    for values in (np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0))):
        with pytest.raises(ShapeError, match="expected a row for each image"):
            Sample(values, "odd")
    for values in ([["a"]], [[1j]], [[None]]):
        with pytest.raises(DTypeError, match="odd: expected real numbers"):
            Sample(np.array(values), "odd")


def test_results_cannot_be_changed():
    result = frechet_distance(features(9, 2), features(9, 2))
    sample = features(9, 2)
    things = ((result, "value"), (result.provenance, "samples"), (sample, "values"))
    for thing, name in things:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 0)


def test_what_is_compared_with_nothing_says_so():
    provenance = inception_score(Sample(np.eye(3), "p"), 1).provenance
    assert (provenance.reference, provenance.references) == ("none", 0)


def test_samples_are_told_apart_by_being_others():
    a, b = features(3, 2), features(3, 2)  # arrays have no one truth to be compared by
    assert a == a and a != b and hash(a) != hash(b)


def test_repeats_are_joined_to_mean_and_deviation():
    real = features(50, 2, source="real")
    one, two, three = (frechet_distance(features(50, 2, s), real) for s in (1, 2, 3))
    joined = repeated([one, two, three])
    values = [one.value, two.value, three.value]
    assert joined.value == pytest.approx(sum(values) / 3)
    variance = sum((v - sum(values) / 3) ** 2 for v in values) / 2
    assert joined.spread == pytest.approx(variance**0.5)
    assert repeated([one]) is one
    with pytest.raises(ComparisonError, match="mean of 3 repeats"):
        assert one < joined
    with pytest.raises(ComparisonError, match="samples is 50 and 40"):
        repeated([one, frechet_distance(features(40, 2), real)])


# -- the feature networks ----------------------------------------------------------------------

DIGITS, COLOUR = NETWORKS[1, 28, 28], NETWORKS[3, 32, 32]
RECIPES = train_features.RECIPES


@pytest.fixture(scope="module")
def mnist():
    return load("mnist-10k")


@pytest.fixture(scope="module")
def cifar():
    return load("cifar10-2k")


@pytest.fixture(params=["mnist-10k", "cifar10"])
def recipe(request):
    """Each recipe, and images for it that ship."""
    return RECIPES[request.param], load({"cifar10": "cifar10-2k"}.get(request.param, "mnist-10k"))


def test_shipped_network_knows_digits_it_never_saw(mnist):
    seen, unseen = train_features.held_out(mnist)
    assert len(unseen) == 1000
    assert sorted([*seen, *unseen]) == list(range(10_000))
    _, p = extractor_for((1, 28, 28))(mnist.images[unseen], "held out")
    assert accuracy(p.values, mnist.labels[unseen]) >= 0.98


def test_shipped_network_knows_photographs_it_never_saw():
    try:
        test = load("cifar10", os.environ.get("MINISN_DATA"), "test")
    except DataError:
        pytest.skip("the complete CIFAR-10, whose test images nothing was trained on, is not here")
    _, p = extractor_for((3, 32, 32))(test.images, "test")
    assert accuracy(p.values, test.labels) >= 0.8


def test_shipped_networks_are_small_named_and_checked(tmp_path, monkeypatch):
    files = set(DIGITS.path.parent.iterdir())
    assert files == {network.path for network in NETWORKS.values()}
    assert DIGITS.path.name == "mnist-digits-cnn-v1.safetensors"
    assert COLOUR.path.name == "cifar10-cnn-v1.safetensors"
    assert DIGITS.path.stat().st_size < 1_000_000
    assert COLOUR.path.stat().st_size < 2_000_000
    for shape, kind in NETWORKS.items():
        assert kind.shape == shape
        assert extractor.read_extractor(kind).digest == kind.digest
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(kind.path.read_bytes()[:-1] + b"x")
        with monkeypatch.context() as patch:
            patch.setattr(networks.FeatureNetwork, "path", bad)
            with pytest.raises(DataError, match=f"altered, its SHA-256 is .*ted {kind.digest}"):
                extractor.read_extractor(kind)
            bad.unlink()
            with pytest.raises(DataError, match="cannot be read: No such file"):
                extractor.read_extractor(kind)


def test_features_are_what_the_last_layer_turns_into_probabilities(recipe):
    recipe, data = recipe
    found, images = extractor_for(recipe.network.shape), data.images[:510]  # more than one part
    features, p = found(images, "first images")
    assert features.values.shape == (510, recipe.network.features)
    assert features.values.dtype == p.values.dtype == np.float64
    head = found.network.layers[-1]
    logits = features.values @ head.weight.array.T + head.bias.array
    np.testing.assert_allclose(p.values, softmax(logits, axis=1), atol=1e-5)
    one, _ = found(images[505:506], "one image")
    np.testing.assert_allclose(one.values[0], features.values[505], rtol=1e-4, atol=1e-5)
    name, digest = recipe.network.name, recipe.network.digest
    assert (features.extractor, features.digest) == (name, digest)
    # in the units of a cubic kernel
    assert (features.values**2).mean() == pytest.approx(1, abs=0.1)


def test_images_the_network_does_not_know_are_refused(mnist):
    for images in (np.zeros((2, 3, 32, 32), np.uint8), mnist.images[0]):
        with pytest.raises(ShapeError, match=r"expected images \[N, 1, 28, 28\]"):
            extractor_for((1, 28, 28))(images, "x")
    with pytest.raises(DTypeError, match="expected uint8"):
        extractor_for((1, 28, 28))(mnist.images[:2] / 1.0, "x")
    with pytest.raises(ShapeError, match="for images of 3 x 48 x 48, only for 1 x 28 x 28 and 3"):
        extractor_for((3, 48, 48))


def test_training_is_reproducible(recipe):
    recipe, data = recipe
    images, labels = data.images[:100], data.labels[:100]
    one, two, other = (train_features.train(recipe, images, labels, 1, s) for s in (0, 0, 1))
    for name, array in one.state_dict().items():
        assert array.tobytes() == two.state_dict()[name].tobytes(), name
        assert (array == array.astype(np.float16)).all(), name
    assert (other.state_dict()["layers.0.weight"] != one.state_dict()["layers.0.weight"]).any()
    kept = recipe.network.build(rng_of()).state_dict()
    assert {name: a.shape for name, a in kept.items()} == {
        name: a.shape for name, a in one.state_dict().items()
    }


def test_training_learns_and_levels_the_features(mnist):
    recipe = RECIPES["mnist-10k"]
    network = train_features.train(recipe, mnist.images[:600], mnist.labels[:600], epochs=3)
    features, p = Extractor(DIGITS, network, "")(mnist.images[1000:1500], "unseen")
    assert accuracy(p.values, mnist.labels[1000:1500]) > 0.7
    assert (features.values**2).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_training_learns_color_too(cifar, capsys):
    recipe = RECIPES["cifar10"]
    network = train_features.train(recipe, cifar.images[:1000], cifar.labels[:1000], epochs=2)
    features, p = Extractor(COLOUR, network, "")(cifar.images[1000:], "unseen")
    assert accuracy(p.values, cifar.labels[1000:]) > 0.2
    assert (features.values**2).mean() == pytest.approx(1, abs=0.15)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["epoch 1", "epoch 2"]


def test_levelling_scales_the_features_and_leaves_the_logits(recipe):
    recipe, data = recipe
    network = recipe.network.build(rng_of())
    x = data.images[:20].astype(np.float32) / 255
    before, body = network(Tensor(x)).array, nn.Sequential(*network.layers[:-1])
    train_features._level(network, x)
    np.testing.assert_allclose(network(Tensor(x)).array, before, rtol=1e-4, atol=1e-6)
    assert (body(Tensor(x)).array ** 2).mean() == pytest.approx(1, rel=1e-5)


def test_folding_leaves_what_the_network_computes():
    network, rng = networks.color_network(rng_of(), normalized=True), rng_of(1)
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm):
            shape = layer.beta.shape
            layer.gamma.assign(rng.uniform(0.5, 2, shape).astype(np.float32))
            layer.beta.assign(rng.normal(size=shape).astype(np.float32))
            mean, var = rng.normal(size=shape), rng.uniform(1e-5, 2, shape)
            layer.state = {"running_mean": mean.astype(np.float32),
                           "running_var": var.astype(np.float32)}  # fmt: skip
    x = Tensor(rng.normal(size=(3, 3, 32, 32)).astype(np.float32))
    before = network.eval()(x).array
    folded = train_features.fold(network)
    assert not any(isinstance(layer, nn.BatchNorm) for layer in folded.layers)
    np.testing.assert_allclose(folded(x).array, before, rtol=1e-4, atol=1e-5 * abs(before).max())


def test_training_takes_no_step_in_the_end(mnist, monkeypatch):
    rates = []
    step = Adam.step
    monkeypatch.setattr(Adam, "step", lambda self, g: (rates.append(self.rate), step(self, g)))
    train_features.train(RECIPES["mnist-10k"], mnist.images[:200], mnist.labels[:200], epochs=1)
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_training_mirrors_and_shifts_photographs():
    rng, size, margin = rng_of(), 12, train_features.MARGIN
    image = rng.integers(0, 256, (3, size, size), np.uint8)
    moved = train_features.flip_and_shift(np.repeat(image[None], 2000, 0), rng)
    assert moved.dtype == np.uint8 and moved.shape == (2000, 3, size, size)
    rows = np.pad(np.arange(size), margin, mode="reflect")  # of the image, row by row of a shifted
    counts = {}
    for r in range(2 * margin + 1):
        for c in range(2 * margin + 1):
            shifted = image[:, rows[r : r + size]][:, :, rows[c : c + size]]
            for way in (1, -1):
                counts[r, c, way] = (moved == shifted[:, :, ::way]).all((1, 2, 3)).sum()
    assert sum(counts.values()) == 2000  # each is one of these, and each of these occurs
    assert min(counts.values()) > 0
    assert 900 < sum(n for (*_, way), n in counts.items() if way < 0) < 1100


def test_training_moves_images_a_little(mnist):
    image, rng = mnist.images[0, 0], rng_of()
    moved = train_features.turn_and_shift(np.repeat(mnist.images[:1], 300, 0), rng)[:, 0]
    assert moved.dtype == np.uint8
    assert len(np.unique(moved, axis=0)) == 300
    grid = np.stack(np.indices(image.shape), -1).reshape(-1, 2)

    def center(pixels):
        return (grid * pixels.reshape(-1, 1)).sum(0) / pixels.sum()

    shifts = np.array([center(m) - center(image) for m in moved])
    assert 1.5 < np.abs(shifts).max() < 2.6
    assert np.abs(shifts.mean(0)).max() < 0.3
    assert (moved.reshape(300, -1).astype(float) @ grid).std(0).min() > 0

    def tilt(pixels):
        """The direction in which a digit is longest, degrees from the rows."""
        rows, columns = (grid - center(pixels)).T
        weights = pixels.reshape(-1)
        mixed, square = (weights * rows * columns).sum(), (weights * (columns**2 - rows**2)).sum()
        return np.rad2deg(np.arctan2(2 * mixed, square) / 2)

    turns = np.array([tilt(m) - tilt(image) for m in moved])
    turns = (turns + 90) % 180 - 90
    assert abs(turns.mean()) < 2
    assert 9 < turns.max() < 15
    assert -15 < turns.min() < -9


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_writes_a_file_that_loads(name, tmp_path, monkeypatch, capsys):
    kind, data = RECIPES[name].network, load({"cifar10": "cifar10-2k"}.get(name, name))
    monkeypatch.setattr(
        train_features,
        "_read",
        lambda *_: [(data.images[rows], data.labels[rows]) for rows in (slice(200), slice(300))],
    )
    path = tmp_path / "new" / "and deeper" / "network.safetensors"
    train_features.write(name, path, epochs=1)
    said = capsys.readouterr().out
    digest = said.split("SHA-256 ")[1].split()[0]
    monkeypatch.setattr(networks.FeatureNetwork, "path", path)
    _, p = extractor.read_extractor(dataclasses.replace(kind, digest=digest))(
        data.images[:300], "x"
    )
    assert f"300 held-out images: {accuracy(p.values, data.labels[:300]):.2%}" in said
    train_features.write(name, path, epochs=1)  # into a folder that exists
    assert digest in capsys.readouterr().out


def test_the_command_trains_on_what_it_does_not_test_with(monkeypatch, tmp_path):
    [(_, labels), (_, unseen)] = train_features._read("mnist-10k", None)
    assert (len(labels), len(unseen)) == (9000, 1000)
    asked = []
    monkeypatch.setattr(train_features, "load", lambda *a: asked.append(a) or load("cifar10-2k"))
    train_features._read("cifar10", tmp_path)
    assert asked == [("cifar10", tmp_path), ("cifar10", tmp_path, "test")]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "usage: python -m minisn.metrics.train_features"),
        (["cifar11", "f"], 2, "invalid choice: 'cifar11'"),
        (["cifar10", "f", "--data-dir", "."], 1, "error: cifar10: no cifar-10-binary.tar.gz"),
    ],
)
def test_the_command_tells_what_is_wrong(arguments, status, words, tmp_path):
    command = [sys.executable, "-m", "minisn.metrics.train_features", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == status and words in done.stderr
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_everything_at_once_sees_good_and_bad_digits(mnist):
    found = extractor_for((1, 28, 28))
    reference, _ = found(mnist.images[:1000], "mnist")
    noise = rng_of().integers(0, 256, (300, 1, 28, 28), np.uint8)
    collapsed = np.repeat(mnist.images[:10], 30, 0)
    good, bad, few = (
        measure_images(found, x, "x", reference, rng_of())
        for x in (mnist.images[1000:1300], noise, collapsed)
    )
    names = [score.provenance.measure.split(",")[0] for score in good]
    assert names == [
        "inception-style score",
        "Fréchet distance",
        "kernel distance",
        "precision",
        "recall",
        "MS-SSIM within a class",
    ]
    for k, sign in enumerate((1, -1, -1, 1, 1)):
        assert sign * good[k].value > sign * bad[k].value, names[k]
    assert good[0].value > 8
    assert few[3].value > 0.9
    assert few[4].value < 0.1 < good[4].value
    assert few[5].value > good[5].value + 0.2
    assert {score.provenance.digest for score in good} == {DIGITS.digest}


@pytest.mark.slow
def test_everything_at_once_sees_good_and_bad_photographs(cifar):
    found, order = extractor_for((3, 32, 32)), rng_of().permutation(2000)
    rest, rest_labels = cifar.images[order[1000:]], cifar.labels[order[1000:]]
    reference, _ = found(cifar.images[order[:1000]], "cifar10-2k")
    sets = {
        "real": rest[:500],
        "blurred": gaussian_filter(rest[:500], (0, 0, 1.5, 1.5)),
        "noise": rng_of().integers(0, 256, (500, 3, 32, 32), np.uint8),
        "two classes": rest[np.isin(rest_labels, (0, 3))],  # airplanes and cats
        "collapsed": np.repeat(rest[:10], 50, 0),
    }
    all_of = {name: measure_images(found, x, name, reference, rng_of()) for name, x in sets.items()}
    score, distance, kernel, precision, recall, similarity = (
        {name: scores[k].value for name, scores in all_of.items()} for k in range(6)
    )
    by_score = ["real", "collapsed", "two classes", "blurred", "noise"]
    assert sorted(score, key=score.__getitem__, reverse=True) == by_score
    assert score["real"] > 6 and score["two classes"] < 4 and score["noise"] < 1.2
    by_distance = ["real", "two classes", "collapsed", "blurred", "noise"]
    for distances in (distance, kernel):
        assert min(distances, key=distances.__getitem__) == "real"
    assert sorted(distance, key=distance.__getitem__) == by_distance
    assert distance["two classes"] > 10 * distance["real"]
    assert precision["real"] > 0.7 > precision["blurred"] > 0.1 > precision["noise"]
    assert recall["real"] > 0.7 > recall["two classes"] > 0.1 > recall["blurred"]
    assert precision["collapsed"] > 0.7 and recall["collapsed"] < 0.1
    assert similarity["collapsed"] > 0.5 > 0.15 > similarity["real"] > 0.05 > similarity["noise"]


def test_subsets_that_are_all_there_is_have_no_deviation():
    rows = np.random.default_rng(0).normal(size=(2, 50, 4)).astype(np.float32)
    images, reference = (Sample(x, name, "e", "d") for x, name in zip(rows, "ab", strict=True))
    whole = kernel_distance(images, reference, np.random.default_rng(1), subsets=5, size=50)
    assert whole.spread is None
    assert whole.value == pytest.approx(mmd2(*rows.astype(np.float64)), rel=1e-12)
    part = kernel_distance(images, reference, np.random.default_rng(1), subsets=5, size=40)
    assert part.spread > 1e-4


def test_statistics_of_many_single_precision_numbers_keep_their_digits():
    rows = (1000 + np.random.default_rng(0).normal(size=(2, 3000, 2))).astype(np.float32)
    assert mmd2(*rows) == mmd2(*rows.astype(np.float64))


def test_what_is_no_gaussian_is_refused():
    mu, C = np.zeros(2), np.eye(2)
    for args, error in (
        ((mu, np.eye(5), mu, np.eye(5)), ShapeError),
        ((mu[:, None], C, mu, C), ShapeError),
        ((mu, C, np.zeros(3), np.eye(3)), ShapeError),
        ((mu, mu, C, C), ShapeError),
        ((mu, C, mu, -C), ConfigError),
        ((mu, np.array([[1.0, 5], [0, 1]]), mu, C), ConfigError),
    ):
        with pytest.raises(error, match="gaussian_frechet"):
            gaussian_frechet(*args)


@pytest.mark.parametrize("shape", [(6, 1), (6, 3), (1,), ()])
def test_an_accuracy_of_labels_of_another_shape_is_refused(shape):
    probabilities = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    assert accuracy(probabilities, probabilities.argmax(1)) == 1.0
    with pytest.raises(ShapeError, match=r"expected labels of shape \(6,\)"):
        accuracy(probabilities, np.zeros(shape, int))
