"""Value and gradient, Jacobians and Hessians of functions, beside PyTorch's and closed forms."""

import numpy as np
import pytest

import minisn
from minisn import Tensor, grad, hessian, jacobian, ops, value_and_grad
from minisn.errors import ConfigError, DTypeError, ShapeError

A = np.array([[2.0, 1.0], [0.5, 3.0]])
X = np.array([0.3, -1.2])


def quadratic(x, scale=1.0):
    return scale * ops.sum(x * (Tensor(A) @ x)) / 2


def test_value_and_grad():
    value, slope = value_and_grad(quadratic)(X)
    assert value.item() == pytest.approx(X @ A @ X / 2)
    np.testing.assert_allclose(slope.numpy(), (A + A.T) @ X / 2)
    assert not value.requires_grad
    assert not slope.requires_grad
    _, double = value_and_grad(quadratic)(X, scale=2.0)
    np.testing.assert_allclose(double.numpy(), 2 * slope.numpy())


def test_several_arguments_and_those_without_influence():
    def f(x, n, y):
        return ops.sum(x**n) * 2.0

    value, (of_x, of_y) = value_and_grad(f, (0, 2))(X, 3, [1.0])
    assert value.item() == pytest.approx(2 * (X**3).sum())
    np.testing.assert_allclose(of_x.numpy(), 6 * X**2)
    np.testing.assert_array_equal(of_y.numpy(), [0.0])
    assert value_and_grad(f, -1)(X, 2, 1.0)[1].item() == 0.0
    assert value_and_grad(lambda x: Tensor(1.0))(X)[1].tolist() == [0.0, 0.0]


def test_jacobian_and_hessian_are_pytorchs(torch):
    def f(x):
        return ops.sin(x) @ Tensor(A) * ops.sum(x * x)

    def theirs(x):
        return torch.sin(x) @ torch.tensor(A) * (x * x).sum()

    x = torch.tensor(X)
    J = torch.autograd.functional.jacobian(theirs, x).numpy()
    np.testing.assert_allclose(jacobian(f)(X).numpy(), J, rtol=1e-12)
    H = torch.autograd.functional.hessian(lambda x: theirs(x).sum(), x).numpy()
    np.testing.assert_allclose(hessian(lambda x: f(x).sum())(X).numpy(), H, rtol=1e-12)
    third = torch.autograd.functional.jacobian(
        lambda x: torch.autograd.functional.hessian(
            lambda y: theirs(y).sum(), x, create_graph=True
        ),
        x,
    )
    np.testing.assert_allclose(
        jacobian(hessian(lambda x: f(x).sum()))(X).numpy(), third.numpy(), rtol=1e-10
    )


def test_shapes():
    W = np.arange(6.0).reshape(2, 3)
    assert jacobian(lambda x: x @ Tensor(W))(np.ones((4, 2))).shape == (4, 3, 4, 2)
    assert jacobian(ops.sum)(W).shape == (2, 3)
    assert hessian(lambda x: ops.sum(x**2))(W).shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(hessian(lambda x: ops.sum(3 * x))(X).numpy(), np.zeros((2, 2)))
    both = jacobian(lambda x, y: x * y, (0, 1))(X, X)
    np.testing.assert_array_equal(both[0].numpy(), np.diag(X))
    assert jacobian(lambda x: x[:0])(X).shape == (0, 2)


def test_the_result_is_recorded_where_the_arguments_are():
    x = Tensor(X, requires_grad=True)
    J = jacobian(lambda t: t**3)(x)
    np.testing.assert_allclose(grad(J.sum(), x).numpy(), 6 * X)
    penalty = (value_and_grad(quadratic)(x)[1] ** 2).sum()
    np.testing.assert_allclose(grad(penalty, x).numpy(), (A + A.T) @ (A + A.T) @ X / 2)


def test_refusals():
    with pytest.raises(ShapeError, match="f must return one number, got shape"):
        value_and_grad(lambda x: x)(X)
    with pytest.raises(DTypeError, match="f must return a Tensor, got float"):
        value_and_grad(lambda x: float(x[0]))(X)
    with pytest.raises(ConfigError, match="argnums 1 do not exist among"):
        jacobian(lambda x: x, 1)(X)
    with pytest.raises(DTypeError, match="floating-point"):
        jacobian(lambda x: x)(np.array([1, 2]))
    assert minisn.hessian is hessian


@pytest.mark.parametrize("make", [value_and_grad, jacobian, hessian])
def test_a_point_in_place_of_a_place_is_one_clear_line(make):
    with pytest.raises(DTypeError, match=rf"to differentiate at x, call {make.__name__}\(f\)\(x\)"):
        make(lambda t: (t * t).sum(), np.ones(2))


def test_what_is_asked_for_is_computed_even_under_no_grad():
    """no_grad() decides whether results are recorded, not whether they are right."""
    x = Tensor(X, requires_grad=True)
    expected = value_and_grad(quadratic)(X)[1].numpy()
    with minisn.no_grad():
        for given in (X, x):
            value, slope = value_and_grad(quadratic)(given)
            np.testing.assert_array_equal(slope.numpy(), expected)
            np.testing.assert_allclose(hessian(quadratic)(given).numpy(), (A + A.T) / 2)
            np.testing.assert_array_equal(jacobian(lambda x: x * x)(given).numpy(), np.diag(2 * X))
            assert not value.requires_grad
            assert not slope.requires_grad
        assert not (x * x).requires_grad


def test_what_is_no_function_and_what_is_no_tensor():
    y = (Tensor(X, requires_grad=True) ** 2).sum()
    for make in (value_and_grad, jacobian, hessian):
        with pytest.raises(
            DTypeError, match=r"expected a function of tensors, .* call grad\(y, xs"
        ):
            make(y)
    leaves = [Tensor(X, requires_grad=True), Tensor(X)]
    with pytest.raises(DTypeError, match=r"argument 0 is a list of tensors; pass each .* or call"):
        value_and_grad(lambda xs: (xs[0] * xs[1]).sum())(leaves)


def test_the_gradient_of_a_constant_is_0_at_infinity_too():
    found = value_and_grad(lambda x: Tensor(3.0))(Tensor([np.inf, 1.0]))[1]
    np.testing.assert_array_equal(found.array, [0.0, 0.0])


def test_an_argument_that_depends_on_another_is_held_constant():
    def f(a, b):
        return (a * b).sum()

    x = Tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal(value_and_grad(f)(x, x)[1].numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(value_and_grad(f)(x, x * 3)[1].numpy(), [3.0, 6.0])
    np.testing.assert_array_equal(hessian(f)(x, x).numpy(), np.zeros((2, 2)))
    np.testing.assert_array_equal(jacobian(lambda a, b: a * b)(x, x).numpy(), np.diag([1.0, 2.0]))
    with minisn.no_grad():
        np.testing.assert_array_equal(value_and_grad(f)(x, x)[1].numpy(), [1.0, 2.0])
    slope = value_and_grad(lambda a: (a**3).sum())(x)[1]  # still a function of x
    np.testing.assert_allclose(grad(slope.sum(), x).numpy(), [6.0, 12.0])
