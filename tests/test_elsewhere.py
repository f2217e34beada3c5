"""On another library's device: everything public computes there, as beside NumPy, and asks nothing.

A strict library's second device stands for a second GPU: what is made on the default device cannot
be combined with what lies there.
"""

import math

import numpy as np
import pytest
from elsewhere import PLACES, open_place
from test_operations import CASES
from test_training import TINY

from minisn import (
    Tensor,
    augment,
    backend,
    checkpoint,
    conv,
    grad,
    lipschitz,
    losses,
    ops,
    spectral,
)
from minisn.differentiate import hessian, jacobian, value_and_grad
from minisn.errors import ConfigError, DTypeError, ShapeError
from minisn.labels import Labels
from minisn.models import cnn_discriminator
from minisn.nn import (
    GRU,
    BatchNorm,
    ConditionalBatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Linear,
    Scale,
    Sequential,
)
from minisn.optim import SGD, Adam
from minisn.regularizers import METHODS, method, penalize, project
from minisn.training import Trainer

pytestmark = pytest.mark.usefixtures("plain_kernels")

RNG = np.random.default_rng(18)
X, W = RNG.normal(size=(2, 3, 6, 6)), RNG.normal(size=(4, 3, 3, 3))
IMAGES = RNG.integers(0, 256, (16, 1, 8, 8), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 16)
LABELS[:3] = 0, 1, 2
SMALL = TINY.replace(size=8, width=2, latent=4, batch_size=4, n_dis=1)


@pytest.fixture(params=PLACES)
def place(request, monkeypatch):
    return open_place(request.param, monkeypatch)


@pytest.fixture
def strict(monkeypatch):
    return open_place("strict", monkeypatch)


def arrays_of(result):
    """Every array in what a function returned."""
    if isinstance(result, Tensor):
        return [result.array]
    if isinstance(result, tuple | list):
        return [array for part in result for array in arrays_of(part)]
    return [result] if backend.is_array(result) else []


def check_same(place, there, here):
    found, expected = arrays_of(there), arrays_of(here)
    assert len(found) == len(expected) > 0
    assert all(map(place.holds, found))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), b, rtol=1e-9, atol=1e-9)


# -- where an array is ---------------------------------------------------------------------------


def test_device_of_says_where_an_array_is(place):
    there = place.bring(X)
    assert backend.device_of(there) == place.name
    assert backend.device_of(X) == "cpu"
    assert place.holds(backend.to_device(X, place.name))
    back = backend.to_device(there, "cpu")
    assert backend.device_of(back) == "cpu"
    np.testing.assert_array_equal(back, X)
    np.testing.assert_array_equal(backend.to_numpy(there), X)


def test_a_place_without_a_name_is_called_by_its_library_and_device(strict):
    assert backend.device_of(strict.xp.zeros(2)).startswith("array_api_strict array_api_strict.Dev")
    moved = backend.to_device(strict.xp.ones(2), "strict")  # from one device to the other
    assert strict.holds(moved)


# -- operations ----------------------------------------------------------------------------------


def numbers_like(y):
    """The same numbers for each shape, wherever it is."""
    return np.cos(np.arange(math.prod(y.shape), dtype=float)).reshape(y.shape)


@pytest.mark.parametrize(
    ("call", "args"), [pytest.param(c, a, id=f"{n}-{i}") for i, (n, c, _, a) in enumerate(CASES)]
)
def test_operations_with_both_orders_of_gradients(place, call, args):
    def leaf(bring, a):
        if isinstance(a, list):
            return [leaf(bring, part) for part in a]
        if not isinstance(a, np.ndarray):
            return a
        return Tensor(bring(a), requires_grad=a.dtype.kind == "f")

    def run(bring):
        inputs = leaf(bring, list(args))
        flat = [x for a in inputs for x in (a if isinstance(a, list) else [a])]
        xs = [x for x in flat if isinstance(x, Tensor) and x.requires_grad]
        y = call(*inputs)
        if not isinstance(y, Tensor) or not y.requires_grad:
            return y
        weight = Tensor(bring(numbers_like(y)))
        first = grad((y * y * weight).sum(), xs, create_graph=True)
        return [y, first, grad(sum((g * g).sum() for g in first), xs)]

    check_same(place, run(place.bring), run(lambda a: a))


def test_convolutions_and_pooling(place):
    def run(bring):
        x, w = (Tensor(bring(a), requires_grad=True) for a in (X, W))
        y = conv.conv2d(x, w, stride=2, padding=1)
        back = conv.conv2d_transpose(y, w, 2, 1, output_padding=1)
        pooled = ops.max_pool2d(back, 3, 2, 1), ops.avg_pool2d(back, 3, 2, 1), ops.avg_pool2d(back)
        first = grad(sum((p * p).sum() for p in pooled), [x, w], create_graph=True)
        return [y, back, *pooled, first, grad(sum((g * g).sum() for g in first), [x, w])]

    check_same(place, run(place.bring), run(lambda a: a))


def test_derivatives_of_functions(place):
    def run(bring):
        x = bring(X[0, 0])
        return (
            value_and_grad(lambda x: (x**3).sum())(x),
            jacobian(lambda x: x.sum(0))(x),
            jacobian(lambda x: x[:0])(x),
            jacobian(lambda x: ops.sign(x[0]))(x),
            hessian(lambda x: ops.sigmoid(x).sum())(x),
        )

    check_same(place, run(place.bring), run(lambda a: a))


def test_losses(place):
    def run(bring):
        x, t = Tensor(bring(X[0, 0])), Tensor(bring(X[0, 1]))
        return (
            [o.d(x, t) for o in losses.OBJECTIVES.values()],
            [o.g(x) for o in losses.OBJECTIVES.values()],
            losses.binary_cross_entropy(x, (X[0, 1] > 0).tolist()),
            losses.mean_squared_error(x, X[0, 1].tolist()),
            losses.cross_entropy(x, [0, 1, 2, 3, 4, 5]),
            losses.cross_entropy(x, bring(np.arange(6))),
            losses.optimal_logit(x * x, t * t),
        )

    check_same(place, run(place.bring), run(lambda a: a))
    at = [losses.slopes(losses.OBJECTIVES["hinge"], bring(X), bring(X)) for bring in both(place)]
    assert at[0] == pytest.approx(at[1])


def both(place):
    return place.bring, lambda a: a


def test_spectral_norms_and_bounds(place):
    def run(bring):
        w, rng = bring(W), np.random.default_rng(0)
        u, v = spectral.initial_vectors(w, rng)
        u, v, sigma = spectral.power_iteration(w, u, 3)
        t = Tensor(w, requires_grad=True)
        normalized = spectral.spectral_normalize(t, u, v)
        g = grad((normalized * normalized * normalized).sum(), t, create_graph=True)
        arrays = (
            (u, v, sigma, normalized, g, grad((g * g).sum(), t)),
            spectral.bake(w, u, v),
            spectral.singular_values(w),
            spectral.sigma(t, u, v),
            lipschitz.conv_singular_values(w, 4, 1, 1),
        )
        certificate = spectral.certificate(w, u, v)
        bound = lipschitz.lipschitz_lower_bound(
            lambda x: ops.tanh(x * x).sum(axis=(1, 2, 3)), bring(X), steps=2
        )
        numbers = (
            (certificate.sigma, certificate.residual, certificate.upper, bound.value),
            (spectral.norm_bound(w), lipschitz.conv_operator_norm(w, 4, 1, 1)),
            lipschitz.conv_operator_norm(w, 12, 1, 1),  # by Lanczos iteration
        )
        return (arrays, bound.point), np.hstack([np.ravel(n) for n in numbers])

    (arrays, numbers), (expected, others) = run(place.bring), run(lambda a: a)
    check_same(place, arrays, expected)
    np.testing.assert_allclose(numbers, others, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_regularizers(place, name):
    def run(bring, device):
        scheme = method(name)
        D = cnn_discriminator(8, 1, np.random.default_rng(0), 2, regularizer=scheme).to(device)
        x = Tensor(bring(np.linspace(-1, 1, 4 * 64).astype(np.float32).reshape(4, 1, 8, 8)))
        project(D, scheme.projection)
        loss = D(x).sum()
        if scheme.penalty:
            loss = loss + scheme.penalty(D, D, x, x * 0.5, np.random.default_rng(1))
        return [loss, grad(loss, D.parameters())]

    there, here = run(place.bring, place.name), run(lambda a: a, "cpu")
    found, expected = arrays_of(there), arrays_of(here)
    assert all(map(place.holds, found))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), b, rtol=1e-3, atol=1e-5)


def test_gradient_penalty_and_augmentation(place):
    def run(bring):
        x, w = Tensor(bring(X)), Tensor(bring(W), requires_grad=True)
        critic = lambda x: ops.tanh(conv.conv2d(x, w)).sum(axis=(1, 2, 3))  # noqa: E731
        penalty = penalize.gradient_penalty(critic, x, x * 0.3, np.random.default_rng(0))
        changed = augment.augment(x, ",".join(augment.KINDS), np.random.default_rng(0))
        return penalty, grad(penalty, w), changed, penalize.orthonormal_penalty(w)

    check_same(place, run(place.bring), run(lambda a: a))


def test_layers_move_and_compute(place):
    layers = {
        "dense": Sequential(Linear(6, 3, 0), Scale(), Dropout(0.5, 1)),
        "images": Sequential(Conv2d(3, 4, 3, 0), BatchNorm(4), ConvTranspose2d(4, 2, 3, 0)),
        "sequence": GRU(6, 4, 0),
    }
    inputs = {"dense": X[0, 0], "images": X, "sequence": X[0]}

    for name, layer in layers.items():
        x = inputs[name].astype(np.float32)
        layer.to(place.name)
        assert all(map(place.holds, layer.state_dict().values()))
        y = layer(place.bring(x))
        assert place.holds(y.array)
        assert all(place.holds(g.array) for g in grad((y * y).sum(), layer.parameters()))
        assert place.holds(layer.eval()(place.bring(x)).array)
        kept = {name: backend.to_numpy(a) for name, a in layer.state_dict().items()}
        layer.load_state_dict(kept)  # from the host, as a checkpoint's
        assert all(map(place.holds, layer.state_dict().values()))
        layer.to("cpu", "float64")
        assert all(map(backend.is_numpy, layer.state_dict().values()))


def test_optimizers(place):
    for make in (lambda p: SGD(p, 0.1), lambda p: Adam(p, 0.1)):
        found = []
        for bring in both(place):
            p = [Tensor(bring(a), requires_grad=True) for a in (X, W)]
            step = make(p)
            for _ in range(2):
                sum((t * t).sum() for t in p).backward()
                step.step()
                step.zero_grad()
            found.append(p)
        check_same(place, *found)


# -- beside a tensor that is there -----------------------------------------------------------------


def test_numbers_lists_and_indices_of_the_host_follow(place):
    def run(bring):
        x, rows = Tensor(bring(X[0, 0]), requires_grad=True), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        mask = X[0, 0] > 0
        return (
            x * 2.0 + rows - x / rows,
            [x > rows, rows <= x, x == rows],
            ops.where(mask.tolist(), x, 0.0),
            ops.concat([x, [rows]]),
            ops.clip(x, [0.0] * 6, 1),
            [x[[1, -1]], x[np.array([1, -1])], x[:, [0, 0]], x[[0, 1], [2, 3]], x[mask]],
            [x[bring(np.array([1, -1]))], ops.take(x, Tensor(bring(np.array([0, 5]))), 1)],
            ops.average(x, 0, rows),
            grad(x.sum(0), x, rows),
            ops.floor(x) % 3,
        )

    check_same(place, run(place.bring), run(lambda a: a))


TOGETHER = r"got arrays in two places, \S.* and \S.*; bring them together first: an array with"


def test_arrays_in_two_places_are_refused_in_one_line(place):
    there, here = Tensor(place.bring(X[0, 0]), requires_grad=True), X[0, 0]
    network = Linear(6, 2, 0)
    weight = place.bring(W)
    u = RNG.normal(size=4)
    calls = [
        ("add", lambda: there + here),
        ("multiply", lambda: Tensor(here) * there),
        ("where", lambda: ops.where(here > 0, there, 0.0)),
        ("lt", lambda: there < here),
        ("eq", lambda: Tensor(here) == there),
        ("concat", lambda: ops.concat([there, here])),
        ("mean_squared_error", lambda: losses.mean_squared_error(there, here)),
        ("binary_cross_entropy", lambda: losses.binary_cross_entropy(there, here)),
        ("grad", lambda: grad(there.sum(0), there, here[0])),
        ("getitem", lambda: Tensor(here)[place.bring(np.array([0]))]),
        ("cross_entropy", lambda: losses.cross_entropy(Tensor(here), place.bring(LABELS[:6]))),
        ("assign", lambda: there.assign(here)),
        ("assign", lambda: Tensor(here).assign(place.bring(here))),
        ("matmul", lambda: network(place.bring(here.astype(np.float32)))),
        ("conv2d", lambda: conv.conv2d(there[None, None], Tensor(W[:1, :1]))),
        ("power_iteration", lambda: spectral.power_iteration(weight, u)),
        ("sigma", lambda: spectral.sigma(Tensor(W), place.bring(u), np.ones(27))),
        ("step", lambda: SGD([there], 0.1).step([here])),
        ("step", lambda: SGD([Tensor(here, requires_grad=True)], 0.1).step([there.detach()])),
    ]
    for name, call in calls:
        with pytest.raises(DTypeError, match=f"^{name}: {TOGETHER}") as refusal:
            call()
        assert "\n" not in str(refusal.value)


def test_two_devices_of_one_library_are_two_places(strict):
    here, there = Tensor(strict.xp.ones(2)), Tensor(strict.bring(np.ones(2)))
    with pytest.raises(DTypeError, match=f"add: {TOGETHER}"):
        here + there


def test_an_optimizer_stays_where_it_was_made(place):
    layer = Linear(3, 2, 0)
    adam = Adam(layer.parameters(), 0.1)
    layer.to(place.name)
    with pytest.raises(DTypeError, match=f"step: {TOGETHER}"):
        adam.step([p.detach() for p in layer.parameters()])


# -- out of range ----------------------------------------------------------------------------------


@pytest.fixture
def wrapping(strict, monkeypatch):
    """Let the library wrap in silence what is out of range, as CuPy does."""
    take, kind = strict.xp.take, type(strict.xp.asarray(1.0))
    select = kind.__getitem__

    def wrapped(places, size):
        return places % size if isinstance(places, kind) and "int" in str(places.dtype) else places

    def get(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        sizes = self.shape if len(keys) == self.ndim else self.shape + (1,) * len(keys)
        return select(self, tuple(wrapped(k, n) for k, n in zip(keys, sizes, strict=False)))

    monkeypatch.setattr(kind, "__getitem__", get)
    monkeypatch.setattr(
        strict.xp, "take", lambda x, at, *, axis: take(x, wrapped(at, x.shape[axis]), axis=axis)
    )
    x = strict.bring(np.arange(3.0))
    assert float(strict.xp.take(x, strict.bring(np.array([4])), axis=0)[0]) == 1.0
    return strict


@pytest.mark.parametrize("bring", [list, np.array, "there"])
def test_indices_out_of_range_are_refused(wrapping, bring):
    x = Tensor(wrapping.bring(X[0, 0]), requires_grad=True)

    def at(*places):
        return wrapping.bring(np.array(places)) if bring == "there" else bring(places)

    for call in (
        lambda: x[at(0, 6)],
        lambda: x[:, at(0, -7)],
        lambda: x[..., at(6)],
        lambda: x[at(0, 1), at(0, 6)],
        lambda: ops.take(x, at(6), 1),
        lambda: ops.take(x, at(36)),
        lambda: x[None, at(6)],
    ):
        with pytest.raises(ShapeError, match=r"must be -\d+ to \d+, got"):
            call()
    check_same(wrapping, x[at(0, -6)], Tensor(X[0, 0])[[0, -6]])


@pytest.mark.parametrize("bad", [3, -1])
def test_labels_out_of_range_are_refused(wrapping, bad):
    x = Tensor(wrapping.bring(X[0, 0, :4, :3].astype(np.float32)))
    wrong = np.array([0, 1, 2, bad])
    for labels in (wrong, wrong.tolist(), wrapping.bring(wrong), Tensor(wrapping.bring(wrong))):
        for layer in (Embedding(3, 2, 0), ConditionalBatchNorm(3, 3)):
            layer.to("strict")
            inputs = [x, labels] if isinstance(layer, ConditionalBatchNorm) else [labels]
            with pytest.raises(ShapeError, match="labels must be 0 to 2, got"):
                layer(*inputs)
        with pytest.raises(ShapeError, match="labels must be 0 to 2, got"):
            losses.cross_entropy(x, labels)


def test_labels_know_their_range():
    known = Labels.joined([Tensor(np.array([2, 1])), Tensor(np.array([5]))])
    assert (known.least, known.most) == (1, 5)
    known.check("here", 6)
    with pytest.raises(ShapeError, match="here: labels must be 0 to 4, got 1 to 5"):
        known.check("here", 5)
    none = Tensor(np.zeros(0, int))
    Labels.joined([none]).check("here", 1)
    Labels.joined([none, Tensor(np.array([5]))]).check("here", 6)


# -- training --------------------------------------------------------------------------------------


SETTINGS = [
    *({"regularizer": name} for name in METHODS),
    *({"conditional": way} for way in ("concat", "projection", "auxiliary")),
    *({"objective": objective} for objective in ("standard", "wasserstein")),
    {"gradient_penalty": 10.0, "conditional": "projection", "flip": True},
    {"augment": "color,translation,cutout"},
    {"power_steps": "pass", "first": "G", "gain": True},
    {"model": "resnet", "size": 32, "width": 2, "batch_size": 2},
    {"model": "resnet", "size": 32, "width": 2, "batch_size": 2, "conditional": "concat"},
]


def trainer(settings, device):
    """A trainer whose Adam takes small steps where a gradient is only what rounding left of 0.

    With the usual epsilon it takes a whole step there, up or down as the processor rounds: D's
    last biases get one where the real and the fake images have the same slopes.
    """
    images = IMAGES
    if settings.get("size"):
        images = np.kron(IMAGES, np.ones((1, 1, 4, 4), np.uint8))
    made = Trainer(SMALL.replace(**settings), images, device, LABELS)
    made.adam_d.eps = made.adam_g.eps = 1e-4
    return made


def names(settings):
    return "-".join(map(str, settings.values()))


DOORS = ("__float__", "__bool__", "__int__", "__index__", "__complex__", "__array__", "__dlpack__")


@pytest.mark.parametrize("settings", SETTINGS, ids=names)
def test_updates_as_beside_numpy_with_the_doors_to_the_host_shut(strict, monkeypatch, settings):
    here, there = trainer(settings, "cpu"), trainer(settings, "strict")
    expected = [here.update() for _ in range(2)]

    def shut(*_, **__):
        raise AssertionError("the host waits for the device here")

    with monkeypatch.context() as patch:
        for door in DOORS:
            patch.setattr(type(there.adam_d.m), door, shut, raising=False)
        found = [there.update() for _ in range(2)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            [float(a.d), float(a.g)], [float(b.d), float(b.g)], rtol=1e-3, atol=1e-5
        )
    assert all(map(strict.holds, there.G.state_dict().values()))
    assert all(map(strict.holds, there.D.state_dict().values()))


def test_shut_doors_are_heard(strict, monkeypatch):
    x = strict.bring(np.ones(1))

    def shut(*_, **__):
        raise AssertionError("heard")

    for door in DOORS:
        monkeypatch.setattr(type(x), door, shut, raising=False)
    for knock in (float, bool, int, np.asarray, backend.to_numpy, lambda x: [0, 1][x]):
        with pytest.raises(AssertionError, match="heard"):
            knock(x)


def test_checkpoint_resume_and_samples(place, tmp_path):
    settings = {"conditional": "projection", "regularizer": "bsn"}
    first = trainer(settings, place.name)
    first.update()
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, first)
    second, here = trainer(settings, place.name), trainer(settings, "cpu")
    for each in (second, here):
        checkpoint.restore(each, checkpoint.load(path))
    losses_ = [t.update() for t in (first, second, here)]
    assert float(losses_[0].d) == float(losses_[1].d)
    assert float(losses_[0].d) == pytest.approx(float(losses_[2].d), rel=1e-3)
    assert place.holds(second.adam_d.m)
    assert all(map(place.holds, second.average.values()))
    z = RNG.standard_normal((5, 4)).astype(np.float32)
    for labels in (None, np.array([0, 1, 2, 2, 1])):
        drawn = [t.sample(z, labels) for t in (second, here)]
        assert all(map(backend.is_numpy, drawn))
        np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-3)


@pytest.mark.parametrize("settings", SETTINGS[:2] + SETTINGS[-8:], ids=names)
def test_updates_in_device_memory(place, settings):
    here, there = trainer(settings, "cpu"), trainer(settings, place.name)
    for _ in range(2):
        a, b = there.update(), here.update()
        np.testing.assert_allclose(
            [float(a.d), float(a.g)], [float(b.d), float(b.g)], rtol=1e-3, atol=1e-5
        )


# -- libraries that do not serve -------------------------------------------------------------------


def test_a_library_whose_arrays_cannot_be_written_is_refused():
    kind = type("ArrayImpl", (), {"__module__": "jaxlib._jax", "__array_namespace__": lambda s: 0})
    for call in (Tensor, lambda x: Tensor([1.0]) + x, Linear(1, 1, 0)):
        with pytest.raises(DTypeError, match=r"JAX's arrays cannot be written, .* numpy\.asarray"):
            call(kind())


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setitem(backend.DEVICES, "far", backend.Device("no_such_library", None, "pip x"))
    with pytest.raises(ConfigError, match=r"needs the package no_such_library, .* run: pip x"):
        backend.to_device(X, "far")
