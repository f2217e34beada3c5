"""PyTorch's own test samples, the inputs that its developers test each operation with, fed to ours.

What a sample asks for and we do not have (groups, dilation, rounding, weights of classes, ...) is
left out, and how many are used is asserted.
"""

import importlib
import warnings

import numpy as np
import pytest

from minisn import Tensor, conv, fused, grad, losses, ops


class NotOursError(Exception):
    """The sample asks for something that minisn does not have."""


def need(condition):
    if not condition:
        raise NotOursError


def plain(ours):
    """An operation of tensors alone, without settings."""

    def form(*xs, **settings):
        need(not settings and all(isinstance(x, Tensor) for x in xs))
        return ours(*xs)

    return form


def reduction(ours):
    def form(x, dim=None, keepdim=False, dtype=None, **settings):
        need(not settings and dtype is None and 0 not in x.shape)
        need(not isinstance(dim, list | tuple) or len(dim) > 0)
        axis = tuple(dim) if isinstance(dim, list | tuple) else dim
        if x.ndim == 0:
            axis = None
        return ours(x, axis=axis, keepdims=keepdim)

    return form


def variance(x, dim=None, unbiased=None, correction=1, keepdim=False):
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    need(unbiased is False or (unbiased is None and correction == 0))
    return reduction(ops.var)(x, dim, keepdim)


def length(x, ord=2, dim=None, keepdim=False, dtype=None):
    need(ord == 2)
    return reduction(ops.norm)(x, dim, keepdim, dtype)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    need(x.ndim == 4 and groups == 1 and np.all(np.equal(dilation, 1)))
    need(not isinstance(padding, str))
    settings = {"stride": stride, "padding": padding}
    return (
        conv.conv2d(x, w, **settings) if b is None else fused.conv2d_with_bias(x, w, b, **settings)
    )


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    need(x.ndim == 4 and groups == 1 and np.all(np.equal(dilation, 1)))
    y = conv.conv2d_transpose(x, w, stride, padding, output_padding)
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def avg_pool2d(x, size, stride=None, padding=0, ceil_mode=False, pad_counts=True, divisor=None):
    need(x.ndim == 4 and isinstance(size, int) and stride in (None, size) and padding == 0)
    need(divisor is None and x.shape[2] % size == x.shape[3] % size == 0)
    return ops.avg_pool2d(x, size)


def pad(x, widths, mode="constant", value=0):
    need(mode == "constant" and value in (None, 0) and min(widths, default=0) >= 0)
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    return ops.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs)


def cross_entropy(
    logits, labels, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    need(logits.ndim == 2 and labels.dtype.kind == "i" and weight is None)
    need(
        reduction == "mean"
        and ignore_index == -100
        and not label_smoothing
        and (labels.array >= 0).all()
    )
    return losses.cross_entropy(logits, labels)


def softmax_log(x, dim, dtype=None):
    need(dtype is None and x.ndim > 0 and x.size > 0)
    return ops.log_softmax(x, dim)


def leaky_relu(x, negative_slope=0.01, inplace=False):
    return ops.leaky_relu(x, negative_slope)


def transposed(x, i, j):
    axes = list(range(x.ndim))
    need(axes)
    axes[i], axes[j] = axes[j], axes[i]
    return ops.permute(x, tuple(axes))


def clamped(x, low=None, high=None):
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


def joined(xs, dim=0):
    need(len({x.ndim for x in xs}) == 1)  # PyTorch lets empty vectors pass
    return ops.concat(xs, dim)


def chosen(x, index):
    need(not isinstance(index, Tensor))
    parts = isinstance(index, list) and not all(isinstance(i, int) for i in index)
    return x[tuple(index) if parts else index]


FORMS = {
    "exp": plain(ops.exp), "log": plain(ops.log), "tanh": plain(ops.tanh), "abs": plain(ops.abs),
    "sigmoid": plain(ops.sigmoid), "sqrt": plain(ops.sqrt), "neg": plain(ops.negative),
    "add": plain(ops.add), "sub": plain(ops.subtract), "mul": plain(ops.multiply),
    "div": plain(ops.divide), "maximum": plain(ops.maximum), "minimum": plain(ops.minimum),
    "matmul": plain(ops.matmul), "reciprocal": plain(lambda x: 1.0 / x),
    "nn.functional.relu": lambda x, inplace=False: ops.relu(x),
    "nn.functional.leaky_relu": leaky_relu,
    "log_softmax": softmax_log, "where": lambda x, condition, y: ops.where(condition, x, y),
    "clamp": clamped, "sum": reduction(ops.sum), "mean": reduction(ops.mean),
    "amax": reduction(ops.max), "amin": reduction(ops.min), "var": variance,
    "logsumexp": reduction(ops.logsumexp), "linalg.vector_norm": length,
    "cat": joined, "stack": lambda xs, dim=0: ops.stack(xs, dim),
    "reshape": ops.reshape, "permute": ops.permute, "transpose": transposed,
    "broadcast_to": ops.broadcast_to, "__getitem__": chosen, "nn.functional.pad": pad,
    "nn.functional.conv2d": conv2d, "nn.functional.conv_transpose2d": conv_transpose2d,
    "nn.functional.avg_pool2d": avg_pool2d,
    "nn.functional.cross_entropy": cross_entropy,
}  # fmt: skip
"""PyTorch's names, and our forms with PyTorch's arguments."""


@pytest.fixture(scope="module")
def published(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = "torch.testing._internal.common_methods_invocations"
        return importlib.import_module(name).op_db


def converted(torch, value, leaves):
    """A sample's argument in minisn: tensors as tensors, lists in depth, all else as it is."""
    if isinstance(value, torch.Tensor):
        ours = Tensor(value.detach().numpy(), requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves.append((ours, value))
        return ours
    if isinstance(value, list | tuple):
        return type(value)(converted(torch, v, leaves) for v in value)
    return value


def compare(torch, name, op, sample):
    """Compare one sample's value, gradients, and the gradients' gradients."""
    leaves = []
    args = [converted(torch, a, leaves) for a in (sample.input, *sample.args)]
    kwargs = {k: converted(torch, v, leaves) for k, v in sample.kwargs.items()}
    ours, theirs = FORMS[name](*args, **kwargs), op(sample.input, *sample.args, **sample.kwargs)
    close(ours, theirs)
    rng = np.random.default_rng(0)
    if not theirs.requires_grad:
        return
    pulls = rng.normal(size=theirs.shape)
    mine, other = [a for a, _ in leaves], [b for _, b in leaves]
    first = grad(ours, mine, Tensor(pulls), create_graph=True)
    wanted = torch.autograd.grad(
        theirs, other, torch.tensor(pulls), create_graph=True, materialize_grads=True
    )
    total, expected = Tensor(0.0), torch.tensor(0.0, dtype=torch.float64)
    for g, w in zip(first, wanted, strict=True):
        close(g, w)
        weights = rng.normal(size=w.shape)
        total = total + ops.sum(g * Tensor(weights))
        expected = expected + (w * torch.tensor(weights)).sum()
    if expected.requires_grad and total.requires_grad:
        second = grad(total, mine)
        last = torch.autograd.grad(expected, other, materialize_grads=True)
        for g, w in zip(second, last, strict=True):
            close(g, w)


def close(ours, theirs):
    expected = theirs.detach().numpy(force=True)
    size = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=1.0))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-11 * size)


@pytest.mark.needs("expecttest")
@pytest.mark.parametrize("name", FORMS)
def test_published_samples(torch, published, name):
    used = found = 0
    for op in published:
        if op.name != name:
            continue
        for sample in op.sample_inputs("cpu", torch.float64, requires_grad=True):
            found += 1
            try:
                compare(torch, name, op, sample)
            except NotOursError:
                continue
            used += 1
    print(f"{name}: {used} of {found}")
    assert used > 0
