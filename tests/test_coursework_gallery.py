"""Mistakes as students make them, each refused and named; and right answers, each let pass.

The mistakes are written out here as a student would write them, not with what recognizes them.
"""

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

from minisn import Tensor, grad, ops, spectral
from minisn.coursework import check, exercises
from minisn.losses import hinge_d, hinge_g, standard_d, standard_g, wasserstein_d
from minisn.tensor import no_grad

WRONG, RIGHT = [], []


def wrong(exercise, mistake):
    """Enter a function in the gallery of mistakes."""
    return lambda function: WRONG.append((exercise, mistake, function)) or function


def right(exercise):
    """Enter a function in the gallery of right answers."""
    return lambda function: RIGHT.append((exercise, function)) or function


# -- divide_rule -----------------------------------------------------------------------------


@wrong("divide_rule", "sign")
def forgot_the_minus(g, y, a, b):
    a_bar = g / b
    b_bar = g * y / b
    return a_bar, b_bar


@wrong("divide_rule", "not-squared")
def derivative_of_one_over_b(g, y, a, b):
    return g * (1 / b), g * a * (-1 / b)


@wrong("divide_rule", "no-incoming-gradient")
def plain_derivative(g, y, a, b):
    return 1 / b, -a / (b * b)


@wrong("divide_rule", "order")
def other_order(g, y, a, b):
    b_bar = -g * y / b
    a_bar = g / b
    return b_bar, a_bar


@wrong("divide_rule", "changed-input")
def scribbles_on_g(g, y, a, b):
    g /= b
    return g, -g * y


@right("divide_rule")
def entry_by_entry(g, y, a, b):
    a_bar, b_bar = np.zeros(a.shape), np.zeros(b.shape)
    for k in np.ndindex(a.shape):
        a_bar[k] = g[k] / b[k]
        b_bar[k] = -g[k] * a[k] / b[k] ** 2
    return [a_bar, b_bar]


@right("divide_rule")
def as_lists_in_float32(g, y, a, b):
    g, a, b = (t.astype(np.float32) for t in (g, a, b))
    return (g / b).tolist(), (g * a * -(b**-2.0)).tolist()


@right("divide_rule")
def as_one_stack(g, y, a, b):
    return np.stack([g / b, -g * y / b])


@right("divide_rule")
def as_a_stack_of_tensors(g, y, a, b):
    return ops.stack([Tensor(g / b), Tensor(-g * y / b)])


@right("divide_rule")
def of_objects(g, y, a, b):
    return np.array(g / b, dtype=object), np.array(-g * y / b, dtype=object)


# -- unbroadcast -----------------------------------------------------------------------------


@wrong("unbroadcast", "not-summed")
def returns_it_as_it_came(g, shape):
    return g


@wrong("unbroadcast", "keepdims-lost")
def sums_and_forgets_keepdims(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    axes = [i for i in range(g.ndim) if shape[i] == 1 and g.shape[i] != 1]
    return g.sum(axis=tuple(axes))


@wrong("unbroadcast", "mean")
def averages(g, shape):
    while g.ndim > len(shape):
        g = g.mean(axis=0)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.mean(axis=i, keepdims=True)
    return g


@wrong("unbroadcast", "only-leading-axes")
def only_in_front(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    return g


@wrong("unbroadcast", "one-copy")
def takes_the_first(g, shape):
    while g.ndim > len(shape):
        g = g[0]
    for i, n in enumerate(shape):
        if n == 1:
            g = np.take(g, [0], axis=i)
    return g


@wrong("unbroadcast", "wrong-end")
def sums_the_last_axes(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=-1)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis=i, keepdims=True)
    return g


@right("unbroadcast")
def one_axis_at_a_time(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis=i, keepdims=True)
    return g


@right("unbroadcast")
def by_adding_up(g, shape):
    total = np.zeros(shape)
    wide = np.broadcast_to(np.arange(total.size).reshape(shape), g.shape)
    np.add.at(total.reshape(-1), wide.ravel(), g.ravel())
    return total


@wrong("unbroadcast", "shape")
def sums_only_the_first_axis_of_1(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=shape.index(1), keepdims=True) if 1 in shape else g


# -- convolve --------------------------------------------------------------------------------


def loops(x, w, stride, padding, tap=lambda w, o, c, p, q: w[o, c, p, q], step=None, channels=None):
    """The loops as a student writes them, with one line left to spoil."""
    step = stride if step is None else step
    (n, _, height, width), (d_out, d_in, h, k) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = (
        (size + 2 * padding - m) // stride + 1 for size, m in ((height, h), (width, k))
    )
    y = np.zeros((n, d_out, rows, columns))
    for b, o, i, j in np.ndindex(y.shape):
        for c in range(d_in if channels is None else channels):
            for p in range(h):
                for q in range(k):
                    y[b, o, i, j] += tap(w, o, c, p, q) * x[b, c, step * i + p, step * j + q]
    return y


right("convolve")(lambda x, w, stride, padding: loops(x, w, stride, padding))


@right("convolve")
def patches_times_matrix(x, w, stride, padding):
    x = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    h, k = w.shape[2:]
    rows = range(0, x.shape[2] - h + 1, stride)
    columns = range(0, x.shape[3] - k + 1, stride)
    patches = [[x[:, :, i : i + h, j : j + k].reshape(len(x), -1) for j in columns] for i in rows]
    return np.einsum("ijnk,ok->noij", patches, w.reshape(len(w), -1))


@wrong("convolve", "kernel-flipped")
def scipy_convolve(x, w, stride, padding):
    y = [
        sum(
            scipy.signal.convolve2d(np.pad(x[n, c], padding), w[o, c], mode="valid")
            for c in range(x.shape[1])
        )[::stride, ::stride]
        for n in range(len(x))
        for o in range(len(w))
    ]
    return np.reshape(y, (len(x), len(w), *y[0].shape))


wrong("convolve", "stride-ignored")(lambda x, w, stride, padding: loops(x, w, 1, padding))
wrong("convolve", "stride-ignored")(
    lambda x, w, stride, padding: loops(x, w, stride, padding, step=1)
)
wrong("convolve", "padding-forgotten")(lambda x, w, stride, padding: loops(x, w, stride, 0))
wrong("convolve", "channels-exchanged")(
    lambda x, w, stride, padding: loops(x, w, stride, padding, lambda w, o, c, p, q: w[c, o, p, q])
)
wrong("convolve", "channels-not-summed")(
    lambda x, w, stride, padding: loops(x, w, stride, padding, channels=1)
)


@wrong("convolve", "exception")
def runs_over_the_edge(x, w, stride, padding):
    rows, columns = x.shape[2] // stride, x.shape[3] // stride
    y = np.zeros((len(x), len(w), rows, columns))
    for n, o, i, j in np.ndindex(y.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            y[n, o, i, j] += w[o, c, p, q] * x[n, c, stride * i + p, stride * j + q]
    return y


@wrong("convolve", "exception")
def counts_three_channels(x, w, stride, padding):
    return loops(x, w, stride, padding, channels=3)


@wrong("convolve", "shape")
def pads_by_one(x, w, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))) if padding else x
    return loops(x, w, stride, 0)


@wrong("convolve", "shape")
def takes_every_second(x, w, stride, padding):
    y = loops(x, w, 1, padding)
    return y[:, :, ::2, ::2] if stride > 1 else y


@wrong("convolve", "padding-on-one-side")
def pads_at_the_beginning(x, w, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (2 * padding, 0), (2 * padding, 0)))
    return loops(x, w, stride, 0)


# -- its gradients ---------------------------------------------------------------------------


@right("convolve_input_gradient")
def the_other_loops(g, w, size, stride, padding):
    x_bar = np.zeros((len(g), w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))
    for n, o, i, j in np.ndindex(g.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            x_bar[n, c, stride * i + p, stride * j + q] += w[o, c, p, q] * g[n, o, i, j]
    return x_bar[:, :, padding : padding + size[0], padding : padding + size[1]]


@right("convolve_input_gradient")
def by_autograd(g, w, size, stride, padding):
    from minisn.conv import conv2d

    x = Tensor(np.zeros((len(g), w.shape[1], *size)), requires_grad=True)
    return grad(conv2d(x, Tensor(w), stride=stride, padding=padding), x, g)


def spread(g, w, size, stride, padding, flip=False, overwrite=False, cut=True, step=None, swap=0):
    step = stride if step is None else step
    x_bar = np.zeros((len(g), w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))
    w = w.transpose(1, 0, 2, 3) if swap else w
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            kernel = w[:, :, ::-1, ::-1] if flip else w
            patch = np.tensordot(g[:, :, i, j], kernel, axes=(1, 0))
            rows = slice(step * i, step * i + w.shape[2])
            columns = slice(step * j, step * j + w.shape[3])
            x_bar[:, :, rows, columns] = patch + (0 if overwrite else x_bar[:, :, rows, columns])
    if not cut:
        return x_bar
    return x_bar[:, :, padding : padding + size[0], padding : padding + size[1]]


for name, what in (
    ("kernel-flipped", {"flip": True}),
    ("stride-ignored", {"step": 1}),
    ("padding-kept", {"cut": False}),
    ("channels-exchanged", {"swap": 1}),
):
    wrong("convolve_input_gradient", name)(
        lambda g, w, size, stride, padding, what=what: spread(g, w, size, stride, padding, **what)
    )


@wrong("convolve_input_gradient", "overwritten")
def assigns_each_tap(g, w, size, stride, padding):
    x_bar = np.zeros((len(g), w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))
    rows, columns = g.shape[2:]
    for p in range(w.shape[2]):
        for q in range(w.shape[3]):
            tap = np.tensordot(g, w[:, :, p, q], axes=(1, 0)).transpose(0, 3, 1, 2)
            x_bar[:, :, p : p + stride * rows : stride, q : q + stride * columns : stride] = tap
    return x_bar[:, :, padding : padding + size[0], padding : padding + size[1]]


@wrong("convolve_input_gradient", "overwritten")
def assigns_in_all_loops(g, w, size, stride, padding):
    x_bar = np.zeros((len(g), w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))
    for n, o, i, j in np.ndindex(g.shape):
        for c, p, q in np.ndindex(w.shape[1:]):
            x_bar[n, c, stride * i + p, stride * j + q] = w[o, c, p, q] * g[n, o, i, j]
    return x_bar[:, :, padding : padding + size[0], padding : padding + size[1]]


@wrong("convolve_input_gradient", "overwritten")
def assigns_taps_first(g, w, size, stride, padding):
    x_bar = np.zeros((len(g), w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))
    for o, c, p, q in np.ndindex(w.shape):
        for n, i, j in np.ndindex(len(g), *g.shape[2:]):
            x_bar[n, c, stride * i + p, stride * j + q] = w[o, c, p, q] * g[n, o, i, j]
    return x_bar[:, :, padding : padding + size[0], padding : padding + size[1]]


wrong("convolve_input_gradient", "overwritten")(
    lambda g, w, size, stride, padding: spread(g, w, size, stride, padding, overwrite=True)
)


@wrong("convolve_input_gradient", "padding-on-one-side")
def cuts_twice_at_the_beginning(g, w, size, stride, padding):
    x_bar = spread(g, w, size, stride, padding, cut=False)
    return x_bar[:, :, 2 * padding :, 2 * padding :]


@wrong("convolve_input_gradient", "left-over-rows")
def forgets_output_padding(g, w, size, stride, padding):
    height = stride * (g.shape[2] - 1) + w.shape[2] - 2 * padding
    width = stride * (g.shape[3] - 1) + w.shape[3] - 2 * padding
    return the_other_loops(g, w, (height, width), stride, padding)


def gather(g, x, kernel, stride, padding, step=None):
    step = stride if step is None else step
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    w_bar = np.zeros((g.shape[1], x.shape[1], *kernel))
    for o, c, p, q in np.ndindex(w_bar.shape):
        for i, j in np.ndindex(g.shape[2:]):
            w_bar[o, c, p, q] += np.sum(g[:, o, i, j] * x[:, c, step * i + p, step * j + q])
    return w_bar


right("convolve_weight_gradient")(
    lambda g, x, kernel, stride, padding: gather(g, x, kernel, stride, padding)
)


@right("convolve_weight_gradient")
def outer_products_of_patches(g, x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    w_bar = 0.0
    for i, j in np.ndindex(g.shape[2:]):
        patch = x[:, :, stride * i : stride * i + kernel[0], stride * j : stride * j + kernel[1]]
        w_bar = w_bar + np.tensordot(g[:, :, i, j], patch, axes=(0, 0))
    return w_bar


@wrong("convolve_weight_gradient", "overwritten")
def assigns_each_product(g, x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    w_bar = np.zeros((g.shape[1], x.shape[1], *kernel))
    for n, o, i, j in np.ndindex(g.shape):
        for c, p, q in np.ndindex(w_bar.shape[1:]):
            w_bar[o, c, p, q] = g[n, o, i, j] * x[n, c, stride * i + p, stride * j + q]
    return w_bar


@wrong("convolve_weight_gradient", "overwritten")
def assigns_each_place(g, x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for i, j in np.ndindex(g.shape[2:]):
        patch = x[:, :, stride * i : stride * i + kernel[0], stride * j : stride * j + kernel[1]]
        w_bar = np.tensordot(g[:, :, i, j], patch, axes=(0, 0))
    return w_bar


for sides in ((1, 0), (0, 1)):

    @wrong("convolve_weight_gradient", "padding-on-one-side")
    def pads_one_side(g, x, kernel, stride, padding, sides=sides):
        pad = [2 * padding * side for side in sides]
        return gather(g, np.pad(x, ((0, 0), (0, 0), pad, pad)), kernel, stride, 0)


@wrong("convolve_weight_gradient", "mean-over-the-batch")
def averages_the_images(g, x, kernel, stride, padding):
    return np.mean(
        [gather(g[n : n + 1], x[n : n + 1], kernel, stride, padding) for n in range(len(x))], axis=0
    )


@wrong("convolve_weight_gradient", "one-image")
def keeps_the_last_image(g, x, kernel, stride, padding):
    for n in range(len(x)):
        w_bar = gather(g[n : n + 1], x[n : n + 1], kernel, stride, padding)
    return w_bar


wrong("convolve_weight_gradient", "stride-ignored")(
    lambda g, x, kernel, stride, padding: gather(g, x, kernel, stride, padding, step=1)
)
wrong("convolve_weight_gradient", "kernel-flipped")(
    lambda g, x, kernel, stride, padding: np.flip(gather(g, x, kernel, stride, padding), (2, 3))
)
wrong("convolve_weight_gradient", "channels-exchanged")(
    lambda g, x, kernel, stride, padding: np.moveaxis(gather(g, x, kernel, stride, padding), 1, 0)
)

# -- penalty ---------------------------------------------------------------------------------


def slope_at(critic, x_hat, create_graph=True):
    x_hat = Tensor(x_hat, requires_grad=True)
    return grad(ops.sum(critic(x_hat)), x_hat, create_graph=create_graph)


@right("penalty")
def through_a_flat_view(critic, real, fake, epsilon):
    slope = slope_at(critic, fake + epsilon * (real - fake))
    flat = ops.reshape(slope, (len(slope), -1))
    gap = ops.sqrt(ops.sum(flat**2, axis=1)) - 1
    return ops.sum(gap * gap) / len(gap)


@right("penalty")
def with_a_small_epsilon_and_each_image_apart(critic, real, fake, epsilon):
    terms = []
    for x, x_tilde, e in zip(real, fake, epsilon, strict=True):
        slope = slope_at(critic, (e * x + (1 - e) * x_tilde)[None])
        terms.append((ops.sqrt(ops.sum(slope * slope) + 1e-12) - 1.0) ** 2)
    return ops.mean(ops.stack(terms))


@wrong("penalty", "no-graph")
def forgets_create_graph(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake, create_graph=False)
    norm = ops.sqrt(ops.sum(slope * slope, axis=tuple(range(1, slope.ndim))))
    return ops.mean((norm - 1.0) ** 2)


@wrong("penalty", "no-graph")
def leaves_the_engine(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake).array
    norms = np.linalg.norm(slope.reshape(len(slope), -1), axis=1)
    return np.mean((norms - 1) ** 2)


@wrong("penalty", "norm-over-the-batch")
def one_norm_for_all(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake)
    return (ops.sqrt(ops.sum(slope * slope)) - 1.0) ** 2


@wrong("penalty", "norm-over-the-batch")
def over_axis_0(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake)
    return ops.mean((ops.sqrt(ops.sum(slope * slope, axis=0)) - 1.0) ** 2)


@wrong("penalty", "norm-over-one-axis")
def over_axis_1(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake)
    return ops.mean((ops.sqrt(ops.sum(slope * slope, axis=1)) - 1.0) ** 2)


@wrong("penalty", "not-rooted")
def no_root(critic, real, fake, epsilon):
    slope = slope_at(critic, epsilon * real + (1 - epsilon) * fake)
    return ops.mean((ops.sum(slope**2, axis=tuple(range(1, slope.ndim))) - 1.0) ** 2)


@wrong("penalty", "sum")
def adds_up(critic, real, fake, epsilon):
    return through_a_flat_view(critic, real, fake, epsilon) * len(real)


@wrong("penalty", "mean-gradient")
def differentiates_the_mean(critic, real, fake, epsilon):
    x_hat = Tensor(epsilon * real + (1 - epsilon) * fake, requires_grad=True)
    slope = grad(ops.mean(critic(x_hat)), x_hat, create_graph=True)
    norm = ops.sqrt(ops.sum(slope * slope, axis=tuple(range(1, slope.ndim))))
    return ops.mean((norm - 1.0) ** 2)


@wrong("penalty", "real-and-fake-exchanged")
def exchanges(critic, real, fake, epsilon):
    return through_a_flat_view(critic, fake, real, epsilon)


@wrong("penalty", "not-between")
def at_the_data(critic, real, fake, epsilon):
    return through_a_flat_view(critic, real, real, epsilon)


# -- power_iteration -------------------------------------------------------------------------


def unit(x):
    return x / np.linalg.norm(x)


@right("power_iteration")
def with_loops(W, u):
    m, n = W.shape
    v = [sum(W[i, j] * u[i] for i in range(m)) for j in range(n)]
    length = sum(t * t for t in v) ** 0.5
    v = [t / length for t in v]
    u = [sum(W[i, j] * v[j] for j in range(n)) for i in range(m)]
    sigma = sum(t * t for t in u) ** 0.5
    return [t / sigma for t in u], v, sigma


@right("power_iteration")
def in_place_on_copies(W, u):
    u, v = u.copy(), np.einsum("ij,i->j", W, u)
    v /= max(np.sqrt(v @ v), 1e-12)
    u[:] = np.einsum("ij,j->i", W, v)
    u /= np.linalg.norm(u) + 1e-12
    return u, v, np.einsum("i,ij,j", u, W, v)


@right("power_iteration")
def in_float32(W, u):
    W, u = W.astype(np.float32), u.astype(np.float32)
    v = unit(u @ W)
    u = unit(v @ W.T)
    return (u, v, u.dot(W).dot(v))


right("power_iteration")(lambda W, u: spectral.power_iteration(W, u))


@wrong("power_iteration", "transposed")
def transposed_w(W, u):
    v = unit(W @ u)
    u = unit(W.T @ v)
    return u, v, u @ W.T @ v


@wrong("power_iteration", "not-normalized")
def v_not_normalized(W, u):
    v = W.T @ u
    u = unit(W @ v)
    return u, v, u @ W @ v


@wrong("power_iteration", "not-normalized")
def nothing_normalized(W, u):
    v = W.T @ u
    u = W @ v
    return u, v, u.T @ (W @ v)


@wrong("power_iteration", "epsilon")
def eps_inside_the_root(W, u):
    v = W.T @ u
    v = v / np.sqrt(np.sum(v**2) + 1e-12)
    u = W @ v
    u = u / np.sqrt(np.sum(u**2) + 1e-12)
    return u, v, u @ W @ v


@wrong("power_iteration", "epsilon")
def a_large_eps(W, u):
    v = W.T @ u
    v = v / (np.linalg.norm(v) + 1e-6)
    u = W @ v
    return u / (np.linalg.norm(u) + 1e-6), v, np.linalg.norm(u)


@wrong("power_iteration", "squared-length")
def forgot_the_root(W, u):
    v = W.T @ u
    v = v / np.sum(v**2)
    u = W @ v
    u = u / np.sum(u**2)
    return u, v, u @ W @ v


@wrong("power_iteration", "u-updated-twice")
def two_rounds(W, u):
    for _ in range(2):
        v = unit(W.T @ u)
        u = unit(W @ v)
    return u, v, u @ W @ v


@wrong("power_iteration", "sigma-of-the-old-u")
def sigma_before(W, u):
    v = unit(W.T @ u)
    sigma = u @ W @ v
    u = unit(W @ v)
    return u, v, sigma


@wrong("power_iteration", "u-not-kept")
def returns_what_came_in(W, u):
    v = unit(W.T @ u)
    u_next = unit(W @ v)
    return u, v, u_next @ W @ v


@wrong("power_iteration", "u-and-v-exchanged")
def v_then_u(W, u):
    v = unit(W.T @ u)
    u = unit(W @ v)
    return v, u, u @ W @ v


@wrong("power_iteration", "sigma-squared")
def eigenvalue(W, u):
    v = unit(W.T @ u)
    u = unit(W @ v)
    return u, v, np.linalg.norm(W @ v) ** 2


@wrong("power_iteration", "singular-vectors")
def decomposes(W, u):
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return U[:, 0], Vt[0, :], s.max()


@wrong("power_iteration", "changed-input")
def writes_into_u(W, u):
    v = unit(W.T @ u)
    u[:] = unit(W @ v)
    return u, v, u @ W @ v


# -- normalize_kernel ------------------------------------------------------------------------


@right("normalize_kernel")
def swaps_and_iterates(W, axis):
    matrix = np.swapaxes(W, 0, axis).reshape(W.shape[axis], -1)
    u = np.ones(len(matrix))
    for _ in range(5000):
        u = unit(matrix @ (matrix.T @ u))
    return W / np.sqrt(u @ matrix @ matrix.T @ u)


@right("normalize_kernel")
def by_eigenvalues(W, axis):
    if axis == 1:
        W = W.transpose(1, 0, 2, 3)
    gram = np.einsum("ochw,pchw->op", W, W)
    W = W / np.sqrt(np.linalg.eigvalsh(gram)[-1])
    return W if axis == 0 else W.transpose(1, 0, 2, 3)


@wrong("normalize_kernel", "axis-ignored")
def always_the_first(W, axis):
    return W / np.linalg.svd(W.reshape(W.shape[0], -1), compute_uv=False)[0]


@wrong("normalize_kernel", "reshaped-without-moving")
def only_reshapes(W, axis):
    d_out = W.shape[axis]
    return W / np.linalg.svd(W.reshape(d_out, -1), compute_uv=False)[0]


@wrong("normalize_kernel", "last-axis")
def rows_from_the_end(W, axis):
    return W / np.linalg.norm(W.reshape(-1, W.shape[3]), ord=2)


@wrong("normalize_kernel", "frobenius")
def default_norm(W, axis):
    return W / np.linalg.norm(np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1))


@wrong("normalize_kernel", "per-tap")
def largest_tap(W, axis):
    return W / max(np.linalg.norm(W[:, :, p, q], 2) for p, q in np.ndindex(W.shape[2:]))


@wrong("normalize_kernel", "matrix-returned")
def stays_a_matrix(W, axis):
    matrix = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
    return matrix / np.linalg.norm(matrix, 2)


@wrong("normalize_kernel", "axis-not-moved-back")
def stays_moved(W, axis):
    W = np.moveaxis(W, axis, 0)
    return W / np.linalg.norm(W.reshape(len(W), -1), 2)


@wrong("normalize_kernel", "sigma-squared")
def forgets_a_root(W, axis):
    matrix = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
    return W / np.linalg.eigvalsh(matrix @ matrix.T).max()


@wrong("normalize_kernel", "scale")
def one_round_only(W, axis):
    matrix = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
    v = unit(matrix.T @ np.ones(len(matrix)))
    return W / np.linalg.norm(matrix @ v)


@wrong("normalize_kernel", "only-above-1")
def clips_the_norm(W, axis):
    return W / max(1, np.linalg.norm(np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1), 2))


@wrong("normalize_kernel", "axis-not-moved-back")
def forgets_to_move_back(W, axis):
    M = np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1)
    return (M / np.linalg.norm(M, 2)).reshape(W.shape)


# -- normalized_gradient ---------------------------------------------------------------------


@right("normalized_gradient")
def of_the_paper_with_loops(delta, h, W):
    U, s, Vt = np.linalg.svd(W)
    u, v, W_bar = -U[:, 0], -Vt[0], W / s[0]
    total = np.zeros(W.shape)
    for d, x in zip(delta, h, strict=True):
        total += np.outer(d, x) - (d @ W_bar @ x) * np.outer(u, v)
    return total / (s[0] * len(h))


@right("normalized_gradient")
def by_the_trace(delta, h, W):
    U, s, Vt = np.linalg.svd(W)
    G = np.einsum("no,ni->oi", delta, h) / delta.shape[0]
    return G / s[0] - np.trace(G.T @ W) / s[0] ** 2 * (U[:, :1] @ Vt[:1])


def gradient_terms(delta, h, W):
    U, s, Vt = np.linalg.svd(W)
    return delta.T @ h / len(h), s[0], U[:, 0], Vt[0]


@wrong("normalized_gradient", "sigma-detached")
def first_term_only(delta, h, W):
    mean, sigma, _, _ = gradient_terms(delta, h, W)
    return mean / sigma


@wrong("normalized_gradient", "sign")
def plus(delta, h, W):
    mean, sigma, u, v = gradient_terms(delta, h, W)
    return (mean + np.sum(mean * W / sigma) * np.outer(u, v)) / sigma


@wrong("normalized_gradient", "sum")
def sum_for_mean(delta, h, W):
    return of_the_paper_with_loops(delta, h, W) * len(h)


@wrong("normalized_gradient", "lambda-of-W")
def unnormalized_lambda(delta, h, W):
    mean, sigma, u, v = gradient_terms(delta, h, W)
    lam = np.mean([d @ W @ x for d, x in zip(delta, h, strict=True)])
    return (mean - lam * np.outer(u, v)) / sigma


@wrong("normalized_gradient", "lambda-summed")
def summed_lambda(delta, h, W):
    mean, sigma, u, v = gradient_terms(delta, h, W)
    lam = sum(d @ (W / sigma) @ x for d, x in zip(delta, h, strict=True))
    return (mean - lam * np.outer(u, v)) / sigma


@wrong("normalized_gradient", "first-term-summed")
def sums_the_outer_products(delta, h, W):
    _, sigma, u, v = gradient_terms(delta, h, W)
    lam = np.mean([d @ (W / sigma) @ x for d, x in zip(delta, h, strict=True)])
    return (delta.T @ h - lam * np.outer(u, v)) / sigma


@wrong("normalized_gradient", "u-and-v-exchanged")
def vu(delta, h, W):
    mean, sigma, u, v = gradient_terms(delta, h, W)
    lam = np.sum(mean * W / sigma)
    return (mean - lam * np.outer(v, u)) / sigma


@wrong("normalized_gradient", "wrong-vectors")
def column_of_vt(delta, h, W):
    U, s, V = np.linalg.svd(W)
    mean = delta.T @ h / len(h)
    return (mean - np.sum(mean * W) / s[0] * np.outer(U[:, 0], V[:, 0])) / s[0]


@wrong("normalized_gradient", "frobenius")
def other_norm(delta, h, W):
    N = np.linalg.norm(W)
    G, W_bar = delta.T @ h / len(h), W / N
    return (G - np.trace(G.T @ W_bar) * W_bar) / N


@wrong("normalized_gradient", "only-above-1")
def clips_the_divisor(delta, h, W):
    U, s, Vt = np.linalg.svd(W)
    G = delta.T @ h / len(h)
    pull = np.sum(G * W) / s[0] * np.outer(U[:, 0], Vt[0])
    return (G - pull) / s[0] if s[0] > 1 else G


# -- hinge -----------------------------------------------------------------------------------


@right("hinge")
def of_the_paper(real, fake):
    V_D = np.minimum(0, -1 + real).mean() + np.minimum(0, -1 - fake).mean()
    return -V_D, -(fake.sum() / fake.size)


@right("hinge")
def of_the_library(real, fake):
    real, fake = Tensor(real.astype(np.float32)), Tensor(fake.astype(np.float32))
    return [hinge_d(real, fake), hinge_g(fake)]


@right("hinge")
def with_where(real, fake):
    loss = np.mean(np.where(real < 1, 1 - real, 0)) + np.mean((1 + fake) * (fake > -1))
    return np.array([loss]).sum(), np.mean(-fake)


@wrong("hinge", "maximized")
def as_printed(real, fake):
    return (
        np.minimum(0, -1 + real).mean() + np.minimum(0, -1 - fake).mean(),
        -np.mean(fake),
    )


@wrong("hinge", "sign-of-the-hinge")
def plus_minus(real, fake):
    return np.maximum(0, 1 + real).mean() + np.maximum(0, 1 - fake).mean(), -fake.mean()


@wrong("hinge", "real-and-fake-exchanged")
def other_way_round(real, fake):
    real, fake = fake, real
    loss_d = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    return loss_d, -fake.mean()


@wrong("hinge", "sum")
def sums(real, fake):
    return sum(np.maximum(0, 1 - real)) + sum(np.maximum(0, 1 + fake)), -sum(fake)


@wrong("hinge", "no-hinge")
def wasserstein(real, fake):
    return fake.mean() - real.mean(), -fake.mean()


@wrong("hinge", "no-margin")
def without_the_one(real, fake):
    return np.maximum(0, -real).mean() + np.maximum(0, fake).mean(), -fake.mean()


@wrong("hinge", "hinge-of-the-mean")
def mean_first(real, fake):
    return max(0, 1 - real.mean()) + max(0, 1 + fake.mean()), -fake.mean()


@wrong("hinge", "sign-of-G")
def g_of_the_wrong_sign(real, fake):
    return of_the_paper(real, fake)[0], fake.mean()


@wrong("hinge", "hinge-in-G")
def hinge_for_g_too(real, fake):
    return of_the_paper(real, fake)[0], np.maximum(0, 1 - fake).mean()


@wrong("hinge", "sigmoid")
def squashes(real, fake):
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    return np.maximum(0, 1 - p).mean() + np.maximum(0, 1 + q).mean(), -q.mean()


@wrong("hinge", "standard-loss")
def cross_entropies(real, fake):
    D_real, D_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    return -np.log(D_real).mean() - np.log(1 - D_fake).mean(), -np.log(D_fake).mean()


@wrong("hinge", "standard-loss")
def minimax(real, fake):
    D_real, D_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    return -np.log(D_real).mean() - np.log(1 - D_fake).mean(), np.log(1 - D_fake).mean()


@wrong("hinge", "standard-loss")
def standard_for_g_alone(real, fake):
    return of_the_paper(real, fake)[0], np.log(1 + np.exp(-fake)).mean()


# -- algorithm_1 -----------------------------------------------------------------------------


def one_step(
    D,
    G,
    W,
    u,
    A,
    real,
    z_d,
    z_g,
    rate,
    rounds=1,
    detach=False,
    joint=False,
    again=False,
    normalize=spectral.spectral_normalize,
    stale=False,
    up=(1, 1),
    losses=(hinge_d, hinge_g),
):
    """Algorithm 1 on the engine, with the lines that students spoil."""
    u, v, _ = spectral.power_iteration(W, u, rounds)
    W, A = Tensor(W, requires_grad=True), Tensor(A, requires_grad=True)
    W_bar = W / float(u @ W.array @ v) if detach else normalize(W, u, v)
    with no_grad():
        fake = G(A, Tensor(z_d))
    loss_d = losses[0](D(W_bar, Tensor(real)), D(W_bar, fake))
    old_bar = W_bar
    W = Tensor(W.array - up[0] * rate * grad(loss_d, W).array, requires_grad=True)
    if again:
        u, v, _ = spectral.power_iteration(W, u)
    W_bar = old_bar if stale else normalize(W, u, v)
    loss_g = losses[1](D(W_bar, G(A, Tensor(z_g))))
    if joint:
        g_W, g_A = grad(loss_g, [W, A])
        return W.array - rate * g_W.array, u, A.array - rate * g_A.array
    return W, u, A.array - up[1] * rate * grad(loss_g, A).array


def step(name, **what):
    """Enter Algorithm 1 with one line spoiled."""
    wrong("algorithm_1", name)(
        lambda D, G, W, u, A, real, z_d, z_g, rate: one_step(
            D, G, W, u, A, real, z_d, z_g, rate, **what
        )
    )


right("algorithm_1")(lambda *args: one_step(*args))
step("two-power-steps", rounds=2)
step("sigma-detached", detach=True)
step("G-reaches-D", joint=True)
step("power-step-for-G", again=True)
step("not-normalized", normalize=lambda W, u, v: W)
step("stale-discriminator", stale=True)
step("ascent", up=(-1, 1))
step("G-uphill", up=(1, -1))
step("both-uphill", up=(-1, -1))
step("standard-loss", losses=(standard_d, standard_g))
step("standard-loss", losses=(standard_d, hinge_g))
step("standard-loss", losses=(hinge_d, standard_g))
step("no-hinge", losses=(wasserstein_d, hinge_g))


@wrong("algorithm_1", "rate-forgotten")
def whole_gradients(D, G, W, u, A, real, z_d, z_g, rate):
    return one_step(D, G, W, u, A, real, z_d, z_g, 1.0)


for ups in ("d", "g"):

    @wrong("algorithm_1", "rate-forgotten")
    def one_whole_gradient(D, G, W, u, A, real, z_d, z_g, rate, ups=ups):
        up = (1 / rate, 1) if ups == "d" else (1, 1 / rate)
        return one_step(D, G, W, u, A, real, z_d, z_g, rate, up=up)


@wrong("algorithm_1", "normalized-weight-returned")
def returns_w_bar(D, G, W, u, A, real, z_d, z_g, rate):
    _, v, _ = spectral.power_iteration(W, u)
    W, u, A = one_step(D, G, W, u, A, real, z_d, z_g, rate)
    return spectral.spectral_normalize(W, u, v), u, A


@wrong("algorithm_1", "normalized-weight-returned")
def trains_w_bar(D, G, W, u, A, real, z_d, z_g, rate):
    u, _, sigma = spectral.power_iteration(W, u)
    W_bar, A = Tensor(W / sigma, requires_grad=True), Tensor(A, requires_grad=True)
    loss_d = hinge_d(D(W_bar, Tensor(real)), D(W_bar, G(A, Tensor(z_d)).detach()))
    W_bar = Tensor(W_bar.array - rate * grad(loss_d, W_bar).array)
    loss_g = hinge_g(D(W_bar, G(A, Tensor(z_g))))
    return W_bar, u, A.array - rate * grad(loss_g, A).array


@wrong("algorithm_1", "old-sigma")
def divides_by_the_first_sigma(D, G, W, u, A, real, z_d, z_g, rate):
    sigma = spectral.power_iteration(W, u)[2]
    W, u, _ = one_step(D, G, W, u, A, real, z_d, z_g, rate)
    A = Tensor(A, requires_grad=True)
    loss_g = hinge_g(D(W / sigma, G(A, Tensor(z_g))))
    return W, u, A.array - rate * grad(loss_g, A).array


@right("algorithm_1")
def with_sgd_and_one_batch(D, G, W, u, A, real, z_d, z_g, rate):
    from minisn.optim import SGD

    w, a = Tensor(W, requires_grad=True), Tensor(A, requires_grad=True)
    v = W.T @ u
    v /= np.linalg.norm(v)
    u = W @ v
    u /= np.linalg.norm(u)

    def normalized():
        return w / ops.sum(Tensor(u) * (w @ Tensor(v)))

    both = D(normalized(), ops.concat([Tensor(real), G(a, Tensor(z_d)).detach()]))
    SGD([w], rate).step([grad(hinge_d(both[: len(real)], both[len(real) :]), w)])
    SGD([a], rate).step([grad(-ops.mean(D(normalized(), G(a, Tensor(z_g)))), a)])
    return w.array, u, a.array


@wrong("algorithm_1", "real-and-fake-exchanged")
def swaps_real_and_fake(D, G, W, u, A, real, z_d, z_g, rate):
    return one_step(
        lambda W_bar, x: D(W_bar, x) if x.requires_grad else -D(W_bar, x),
        G,
        W,
        u,
        A,
        real,
        z_d,
        z_g,
        rate,
    )


@wrong("algorithm_1", "u-not-kept")
def forgets_u(D, G, W, u, A, real, z_d, z_g, rate):
    W_next, _, A_next = one_step(D, G, W, u, A, real, z_d, z_g, rate)
    return W_next, u, A_next


@wrong("algorithm_1", "wrong-z")
def samples_once(D, G, W, u, A, real, z_d, z_g, rate):
    return one_step(D, G, W, u, A, real, z_d, z_d, rate)


@wrong("algorithm_1", "G-first")
def generator_first(D, G, W, u, A, real, z_d, z_g, rate):
    u, v, _ = spectral.power_iteration(W, u)
    W, A = Tensor(W, requires_grad=True), Tensor(A, requires_grad=True)
    W_bar = spectral.spectral_normalize(W, u, v)
    A = Tensor(A.array - rate * grad(hinge_g(D(W_bar, G(A, Tensor(z_g)))), A).array)
    loss_d = hinge_d(D(W_bar, Tensor(real)), D(W_bar, G(A, Tensor(z_d))))
    return W.array - rate * grad(loss_d, W).array, u, A


@wrong("algorithm_1", "stale-discriminator")
def stale_fakes(D, G, W, u, A, real, z_d, z_g, rate):
    u, v, _ = spectral.power_iteration(W, u)
    W, A = Tensor(W, requires_grad=True), Tensor(A, requires_grad=True)
    W_bar = spectral.spectral_normalize(W, u, v)
    fake = G(A, Tensor(z_d)).detach()  # made before G moves
    A = Tensor(A.array - rate * grad(hinge_g(D(W_bar, G(A, Tensor(z_g)))), A).array)
    loss_d = hinge_d(D(W_bar, Tensor(real)), D(W_bar, fake))
    return W.array - rate * grad(loss_d, W).array, u, A


@wrong("algorithm_1", "D-reaches-G")
def moves_g_by_the_loss_of_d(D, G, W, u, A, real, z_d, z_g, rate):
    u, v, _ = spectral.power_iteration(W, u)
    W, A = Tensor(W, requires_grad=True), Tensor(A, requires_grad=True)
    W_bar = spectral.spectral_normalize(W, u, v)
    loss_d = hinge_d(D(W_bar, Tensor(real)), D(W_bar, G(A, Tensor(z_d))))
    g_W, g_A = grad(loss_d, [W, A])
    W = Tensor(W.array - rate * g_W.array)
    A = Tensor(A.array - rate * g_A.array, requires_grad=True)
    loss_g = hinge_g(D(spectral.spectral_normalize(W, u, v), G(A, Tensor(z_g))))
    return W, u, A.array - rate * grad(loss_g, A).array


for hinge in (lambda f: ops.mean(ops.relu(1 - f)), lambda f: -ops.mean(ops.relu(1 + f))):

    @wrong("algorithm_1", "hinge-in-G")
    def a_hinge_for_g(D, G, W, u, A, real, z_d, z_g, rate, hinge=hinge):
        return one_step(D, G, W, u, A, real, z_d, z_g, rate, losses=(hinge_d, hinge))


@wrong("algorithm_1", "sum")
def sums_for_g(D, G, W, u, A, real, z_d, z_g, rate):
    return one_step(D, G, W, u, A, real, z_d, z_g, rate, losses=(hinge_d, lambda f: -ops.sum(f)))


# -- bsn -------------------------------------------------------------------------------------


@right("bsn")
def of_two_decompositions(W):
    w_2 = np.moveaxis(W, 1, 0).reshape(W.shape[1], -1)
    norms = [np.linalg.svd(m)[1][0] for m in (W.reshape(len(W), -1), w_2)]
    return W / np.mean(norms)


@right("bsn")
def columns_last(W):
    d_out, d_in = W.shape[:2]
    first = np.linalg.norm(W.transpose(2, 3, 1, 0).reshape(-1, d_out), 2)
    second = np.linalg.norm(W.transpose(0, 2, 3, 1).reshape(-1, d_in), 2)
    return W.astype(np.float32) * (2 / (first + second))


def both(W):
    w_2 = W.transpose(1, 0, 2, 3).reshape(W.shape[1], -1)
    return np.linalg.norm(W.reshape(len(W), -1), 2), np.linalg.norm(w_2, 2)


wrong("bsn", "product")(lambda W: W / (both(W)[0] * both(W)[1]))
wrong("bsn", "geometric-mean")(lambda W: W / np.sqrt(np.prod(both(W))))
wrong("bsn", "sum")(lambda W: W / sum(both(W)))
wrong("bsn", "one-reshape")(lambda W: W / np.linalg.norm(W.reshape(W.shape[0], -1), ord=2))
wrong("bsn", "largest")(lambda W: W / max(both(W)))


@wrong("bsn", "reshaped-without-moving")
def reshapes_twice(W):
    d_out, d_in, h, w = W.shape
    w_1, w_2 = W.reshape(d_out, d_in * h * w), W.reshape(d_in, d_out * h * w)
    return W / (0.5 * (np.linalg.norm(w_1, 2) + np.linalg.norm(w_2, 2)))


@wrong("bsn", "one-reshape")
def transposes_the_first(W):
    w_1 = W.reshape(len(W), -1)
    return 2 * W / (np.linalg.norm(w_1, 2) + np.linalg.norm(w_1.T, 2))


wrong("bsn", "root-mean-square")(lambda W: W / np.sqrt(np.mean(np.square(both(W)))))
wrong("bsn", "parentheses")(lambda W: W / (both(W)[0] + both(W)[1] / 2))
wrong("bsn", "parentheses")(lambda W: W / (both(W)[0] / 2 + both(W)[1]))
wrong("bsn", "parentheses")(lambda W: W / both(W)[0] + both(W)[1] / 2)
wrong("bsn", "parentheses")(lambda W: W / sum(both(W)) / 2)


@wrong("bsn", "reshaped-without-moving")
def a_view_in_place_of_a_transposition(W):
    d_out, d_in, h, w = W.shape
    w_2 = W.reshape(d_in, d_out, h, w).reshape(d_in, -1)
    return 2 * W / (both(W)[0] + np.linalg.norm(w_2, 2))


@wrong("bsn", "reshaped-without-moving")
def all_axes_turned(W):
    return 2 * W / (both(W)[0] + np.linalg.norm(W.T.reshape(W.shape[1], -1), 2))


@wrong("bsn", "reshaped-without-moving")
def moves_and_counts_the_wrong_rows(W):
    return 2 * W / (both(W)[0] + np.linalg.norm(W.swapaxes(0, 1).reshape(len(W), -1), 2))


@right("bsn")
def by_the_transposed_matrix(W):
    w_1 = W.reshape(len(W), -1)
    w_2 = w_1.T.reshape(W.shape[1], -1)
    return W / ((np.linalg.norm(w_1, 2) + np.linalg.norm(w_2, 2)) / 2)


@wrong("bsn", "only-above-1")
def divides_by_at_least_1(W):
    return W / max(1, np.mean(both(W)))


# -- frechet ---------------------------------------------------------------------------------


def moments(x):
    mu = x.mean(axis=0)
    return mu, (x - mu).T @ (x - mu) / (len(x) - 1)


@right("frechet")
def with_sqrtm(x, y):
    (mu_1, C_1), (mu_2, C_2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm(C_1 @ C_2)
    return np.sum((mu_1 - mu_2) ** 2) + np.trace(C_1 + C_2 - 2 * root)


@right("frechet")
def by_the_symmetric_root(x, y):
    (mu_1, C_1), (mu_2, C_2) = moments(x), moments(y)
    L = np.linalg.cholesky(C_1)
    nuclear = np.sum(np.sqrt(np.linalg.eigvalsh(L.T @ C_2 @ L)))
    return [float((mu_1 - mu_2) @ (mu_1 - mu_2) + np.trace(C_1) + np.trace(C_2) - 2 * nuclear)][0]


@right("frechet")
def with_complex_numbers(x, y):
    (mu_1, C_1), (mu_2, C_2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm((C_1 @ C_2).astype(complex))
    return np.linalg.norm(mu_1 - mu_2) ** 2 + np.trace(C_1) + np.trace(C_2) - 2 * np.trace(root)


def distance(x, y, C=lambda x: moments(x)[1], root=scipy.linalg.sqrtm, power=2):
    gap = np.linalg.norm(x.mean(0) - y.mean(0))
    return gap**power + np.trace(C(x)) + np.trace(C(y)) - 2 * np.trace(root(C(x) @ C(y))).real


@wrong("frechet", "elementwise-root")
def np_sqrt(x, y):
    with np.errstate(invalid="ignore"):
        return distance(x, y, root=lambda M: np.nan_to_num(np.sqrt(M)))


wrong("frechet", "covariance-over-the-wrong-axis")(lambda x, y: distance(x, y, C=np.cov))
wrong("frechet", "n-instead-of-n-1")(
    lambda x, y: distance(x, y, C=lambda f: (f - f.mean(0)).T @ (f - f.mean(0)) / len(f))
)
wrong("frechet", "mean-not-squared")(lambda x, y: distance(x, y, power=1))
wrong("frechet", "rooted")(lambda x, y: np.sqrt(with_sqrtm(x, y)))
wrong("frechet", "not-centered")(lambda x, y: distance(x, y, C=lambda f: f.T @ f / len(f)))


@wrong("frechet", "diagonal")
def variances_only(x, y):
    gap = np.sum((x.mean(0) - y.mean(0)) ** 2)
    return gap + np.sum((x.std(0, ddof=1) - y.std(0, ddof=1)) ** 2)


@wrong("frechet", "diagonal")
def numpys_deviations(x, y):
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum((x.std(0) - y.std(0)) ** 2)


@wrong("frechet", "root-of-each")
def roots_first(x, y):
    (mu_1, C_1), (mu_2, C_2) = moments(x), moments(y)
    product = scipy.linalg.sqrtm(C_1) @ scipy.linalg.sqrtm(C_2)
    return np.sum((mu_1 - mu_2) ** 2) + np.trace(C_1) + np.trace(C_2) - 2 * np.trace(product)


@wrong("frechet", "no-factor-2")
def once(x, y):
    (mu_1, C_1), (mu_2, C_2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm(C_1 @ C_2)
    return np.sum((mu_1 - mu_2) ** 2) + np.trace(C_1 + C_2 - root)


# -- the tests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake", "function"),
    [pytest.param(*entry, id=f"{entry[0]}-{k}-{entry[1]}") for k, entry in enumerate(WRONG)],
)
def test_each_mistake_is_refused_and_named(exercise, mistake, function):
    verdict = check(exercise, function)
    assert verdict.status == "failed"
    assert verdict.mistake == mistake, verdict


@pytest.mark.parametrize(
    ("exercise", "function"),
    [pytest.param(*entry, id=f"{entry[0]}-{k}") for k, entry in enumerate(RIGHT)],
)
def test_no_right_answer_is_refused(exercise, function):
    assert check(exercise, function)


def test_the_gallery_is_large_enough():
    assert len(WRONG) >= 44
    for name in exercises():
        assert sum(exercise == name for exercise, _ in RIGHT) >= 2
        assert sum(exercise == name for exercise, _, _ in WRONG) >= 4
