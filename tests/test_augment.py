"""Differentiable augmentation: what each kind does, how often, and that gradients go through."""

import numpy as np
import pytest

from minisn import Tensor, grad, ops
from minisn.augment import KINDS, augment, kinds_of
from minisn.config import load_preset
from minisn.data import load, scale_images
from minisn.errors import ConfigError, DTypeError
from minisn.gradcheck import gradcheck
from minisn.training import Trainer

ALL = "color,translation,cutout"
SMALL = load_preset("cifar10-small").replace(
    width=2, batch_size=8, steps=4, augment=ALL, flip=True, average=0.0
)


@pytest.fixture(scope="module")
def photographs():
    return load("cifar10-2k").images[:64]


def changed(x, kinds, seed=0):
    return augment(Tensor(x), kinds, np.random.default_rng(seed)).numpy()


def noise(*shape):
    return np.random.default_rng(1).uniform(-1, 1, shape)


# -- what each kind does -------------------------------------------------------------------------


def test_color_is_its_formula_image_by_image():
    x, rng = noise(5, 3, 8, 8), np.random.default_rng(7)
    b, s, c = (rng.uniform(low, high, 5) for low, high in ((-0.5, 0.5), (0, 2), (0.5, 1.5)))
    y = changed(x, "color", 7)
    for n in range(5):
        image = x[n] + b[n]
        for i in range(8):
            for j in range(8):
                gray = image[:, i, j].mean()
                image[:, i, j] = gray + s[n] * (image[:, i, j] - gray)
        image = image.mean() + c[n] * (image - image.mean())
        np.testing.assert_allclose(y[n], image, rtol=0, atol=1e-14)


def test_saturation_leaves_an_image_of_one_channel_as_it_is():
    x = noise(6, 1, 8, 8)
    y = changed(x, "color")
    # brightness and contrast are one line for each image: y = p x + q
    for a, b in zip(x, y, strict=True):
        p, q = np.polyfit(a.ravel(), b.ravel(), 1)
        np.testing.assert_allclose(b, p * a + q, rtol=0, atol=1e-12)


def test_translation_moves_each_image_by_whole_pixels_and_brings_in_zeros():
    x = noise(400, 2, 16, 24)
    seen = set()
    for before, after in zip(x, changed(x, "translation"), strict=True):
        fits = [
            (a, b)
            for a in range(-4, 5)
            for b in range(-5, 6)
            if np.array_equal(moved(before, a, b), after)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    # an eighth of 16 and of 24, either way; 400 draws of 35 leave none out (odds 1 in 3,000)
    assert {a for a, _ in seen} == set(range(-2, 3))
    assert {b for _, b in seen} == set(range(-3, 4))


def moved(image, down, right):
    result = np.zeros_like(image)
    _, height, width = image.shape
    rows = slice(max(down, 0), height + min(down, 0)), slice(max(-down, 0), height - max(down, 0))
    columns = (
        slice(max(right, 0), width + min(right, 0)),
        slice(max(-right, 0), width - max(right, 0)),
    )
    result[:, rows[0], columns[0]] = image[:, rows[1], columns[1]]
    return result


def test_cutout_empties_a_square_of_half_the_size_and_no_more():
    x = noise(500, 3, 8, 8)
    sizes = set()
    for before, after in zip(x, changed(x, "cutout"), strict=True):
        gone = (after == 0).all(axis=0)
        rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
        assert gone[np.ix_(rows, columns)].all()
        assert gone.sum() == len(rows) * len(columns)
        np.testing.assert_array_equal(after[:, ~gone], before[:, ~gone])
        sizes.add((len(rows), len(columns)))
    # a square of 4, of which the border cuts off no more than half
    assert sizes == {(a, b) for a in (2, 3, 4) for b in (2, 3, 4)}


def test_each_image_is_changed_in_its_own_way_and_every_seed_in_another():
    x = np.repeat(noise(1, 3, 16, 16), 20, axis=0)
    for kind in KINDS:
        y = changed(x, kind)
        assert len(np.unique(y.reshape(20, -1), axis=0)) > 10
        assert not np.array_equal(y, changed(x, kind, 1))
        np.testing.assert_array_equal(y, changed(x, kind))


def test_kinds_are_applied_in_order():
    x = noise(4, 3, 8, 8)
    rng = np.random.default_rng(3)
    by_hand = KINDS["translation"](KINDS["cutout"](Tensor(x), rng), rng).numpy()
    np.testing.assert_array_equal(changed(x, "cutout, translation", 3), by_hand)


def test_none_changes_nothing_and_draws_nothing():
    rng = np.random.default_rng(0)
    before, x = rng.bit_generator.state, Tensor(noise(2, 3, 8, 8))
    assert augment(x, "none", rng) is x
    assert rng.bit_generator.state == before
    assert kinds_of("none") == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_stays(dtype):
    assert changed(noise(2, 3, 8, 8).astype(dtype), ALL).dtype == dtype


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [*KINDS, ALL])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_go_through(kinds, order):
    def f(x):
        return ops.sum(augment(x, kinds, np.random.default_rng(2)) ** 3)

    assert gradcheck(f, [noise(2, 3, 8, 8)], order=order)


@pytest.mark.parametrize("kinds", [*KINDS, ALL])
def test_another_array_library_gives_the_same(kinds):
    strict = pytest.importorskip("array_api_strict", reason="needs array-api-strict")
    x = noise(3, 3, 8, 8)
    found = []
    for array in (x, strict.asarray(x)):
        t = Tensor.wrap(array, requires_grad=True)
        y = augment(t, kinds, np.random.default_rng(0))
        found.append([np.asarray(a) for a in (y.array, grad(ops.sum(y * y), t).array)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


# -- in training -----------------------------------------------------------------------------------


def test_d_sees_samples_and_images_changed_and_g_learns_through_the_change(
    photographs, monkeypatch
):
    from minisn import training

    seen, through = [], []

    def watched(x, kinds, rng):
        y = augment(x, kinds, rng)
        seen.append((x.numpy(), y.numpy()))
        through.append(y.requires_grad)
        return y

    monkeypatch.setattr(training, "augment", watched)
    trainer = Trainer(SMALL, photographs)
    before = [p.numpy().copy() for p in trainer.G.parameters()]
    trainer.update()
    (of_d, shown_d), (of_g, shown_g) = seen
    assert (len(of_d), len(of_g)) == (16, 8)
    assert all((a != b).any() for a, b in zip(of_d, shown_d, strict=True))
    assert all((a != b).any() for a, b in zip(of_g, shown_g, strict=True))
    assert through == [False, True]
    assert any(
        (p.numpy() != old).any() for p, old in zip(trainer.G.parameters(), before, strict=True)
    )


def test_half_of_the_real_images_are_mirrored(photographs):
    trainer = Trainer(SMALL.replace(batch_size=64, augment="none"), photographs)
    mirrored = 0
    originals = scale_images(photographs)
    plain = {image.tobytes() for image in originals}
    turned = {np.ascontiguousarray(image[..., ::-1]).tobytes() for image in originals}
    for _ in range(4):
        x, _ = trainer.next_batch()
        for image in x.numpy():
            assert image.tobytes() in plain | turned
            mirrored += image.tobytes() in turned
    assert 90 <= mirrored <= 166  # 256 fair coins: 128, and 38 is 4.8 standard deviations


def test_without_them_no_number_is_drawn_for_them(photographs):
    trainer = Trainer(SMALL.replace(augment="none", flip=False), photographs)
    state = trainer.rng.bit_generator.state
    x, labels = trainer.next_batch()
    trainer.loss_d(x, labels, x, labels)
    assert trainer.rng.bit_generator.state == state


@pytest.mark.parametrize("text", ["colour", "color,", "", "none,color", "color;cutout"])
def test_an_unknown_kind_is_refused_and_the_known_ones_are_named(text):
    with pytest.raises(ConfigError, match="expected none, or some of color, translation, cutout,"):
        SMALL.replace(augment=text)


def test_an_unknown_change_and_images_of_whole_numbers_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'color'"):
        augment(Tensor(noise(2, 3, 8, 8)), "colour", np.random.default_rng(0))
    with pytest.raises(DTypeError, match="scale_images"):
        augment(Tensor(np.zeros((2, 3, 8, 8), np.uint8)), "color", np.random.default_rng(0))
