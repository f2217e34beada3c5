"""The matrix product, in tiles that stay in registers.

A tile of C, some rows by two vectors, stays in registers while k runs. Each step loads two
vectors of B and, for each row, one number of A, which it spreads over a vector. This is enough
arithmetic per load to keep both multipliers of a core busy (``tests/benchmarks/kernels.py``
prints the rate beside that of BLAS). A large B is copied strip by strip into the first-level
cache, unless its memory holds it in strips.

Numba has no vector type, so the tile is written in LLVM's intermediate language.
"""

import functools

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import cfunc, from_dtype, njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_SIXTEEN_SUMS = """
define <16 x float> @sums(<16 x float> %a, <16 x float> %b) {
  %c = fadd <16 x float> %a, %b
  ret <16 x float> %c
}
"""


def _registers() -> tuple[int, int]:
    """Return (bytes of a vector, rows of a tile) that fit the vector registers.

    Numba may compile for another processor than this one (``NUMBA_CPU_NAME``). The function
    therefore compiles a sum of sixteen numbers for Numba's processor and reads the registers used.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features)
    code = machine.emit_assembly(llvm.parse_assembly(_SIXTEEN_SUMS))
    if "zmm" in code:
        return 64, 8  # 16 of 32 registers hold the tile
    if "ymm" in code:
        return 32, 6  # 12 of 16
    return 16, 8


VECTOR_BYTES, ROWS = _registers()
ROOM = 16384
"""Bytes for a copy of a part of B, half of a small first-level cache."""
DEPTH = ROOM // (2 * VECTOR_BYTES)
"""Rows of two vectors that fit into the copy."""


def _tile(rows: int, vectors: int, part: int):
    """Build the compiled step C[:rows, :vectors] (+)= A[:rows, :] B[:, :vectors].

    Args:
        rows, vectors: the size of the tile.
        part: a vector fills a register divided by this, and holds at least one number.
    """

    @intrinsic
    def tile(typingctx, a, a0, a_row, a_column, b, b0, b_row, c, c0, c_row, n, add):
        i = types.intp
        sig = types.void(a, i, i, i, b, i, i, c, i, i, i, i)

        def codegen(context, builder, signature, args):
            (a, a0, a_row, a_column, b, b0, b_row, c, c0, c_row, n, add) = args
            number = signature.args[0].dtype
            size = number.bitwidth // 8
            lanes = max(1, VECTOR_BYTES // size // part)
            vector = ir.VectorType(context.get_data_type(number), lanes)

            def at(start, *offsets):
                return builder.gep(start, [functools.reduce(builder.add, offsets)])

            def times(stride, count):
                return builder.mul(stride, stride.type(count))

            def load(pointer):
                return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=size)

            places = {
                (r, v): at(c, c0, times(c_row, r), c_row.type(v * lanes))
                for r in range(rows)
                for v in range(vectors)
            }
            sums = {place: cgutils.alloca_once(builder, vector) for place in places}
            with builder.if_else(builder.trunc(add, ir.IntType(1))) as (adding, starting):
                with adding:
                    for place, pointer in places.items():
                        builder.store(load(pointer), sums[place])
                with starting:
                    for total in sums.values():
                        builder.store(ir.Constant(vector, [0.0] * lanes), total)
            with cgutils.for_range(builder, n, intp=n.type) as loop:
                b_k, a_k = builder.mul(loop.index, b_row), builder.mul(loop.index, a_column)
                row_of_b = [load(at(b, b0, b_k, b_row.type(v * lanes))) for v in range(vectors)]
                for r in range(rows):
                    factor = builder.load(at(a, a0, a_k, times(a_row, r)))
                    factor = _spread(builder, vector, factor)
                    for v in range(vectors):
                        product = builder.fmul(factor, row_of_b[v], flags=("contract",))
                        total = builder.load(sums[r, v])
                        builder.store(builder.fadd(product, total, flags=("contract",)), sums[r, v])
            for place, pointer in places.items():
                wide = builder.bitcast(pointer, vector.as_pointer())
                builder.store(builder.load(sums[place]), wide).align = size
            return context.get_dummy_value()

        return sig, codegen

    return tile


def _spread(builder, vector, number):
    """Fill a vector with one number."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


@intrinsic
def _pack(typingctx, b, b0, b_row, room, n):
    """Copy two vectors of each of n rows of B to a place where the rows have no gaps."""
    i = types.intp
    sig = types.void(b, i, i, b, i)

    def codegen(context, builder, signature, args):
        b, b0, b_row, room, n = args
        number = signature.args[0].dtype
        size = number.bitwidth // 8
        lanes = VECTOR_BYTES // size
        vector = ir.VectorType(context.get_data_type(number), lanes)

        def at(start, *offsets):
            place = builder.gep(start, [functools.reduce(builder.add, offsets)])
            return builder.bitcast(place, vector.as_pointer())

        with cgutils.for_range(builder, n, intp=n.type) as loop:
            source = builder.mul(loop.index, b_row)
            target = builder.mul(loop.index, n.type(2 * lanes))
            for v in range(2):
                shift = n.type(v * lanes)
                row = builder.load(at(b, b0, source, shift), align=size)
                builder.store(row, at(room, target, shift), align=size)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def _room(typingctx, like):
    """Return a pointer to ``ROOM`` bytes of the stack, of the type of another pointer."""

    def codegen(context, builder, signature, args):
        with builder.goto_entry_block():  # cgutils.alloca_once would fill it with zeros
            room = builder.alloca(ir.ArrayType(ir.IntType(8), ROOM))
        room.align = VECTOR_BYTES
        return builder.bitcast(room, args[0].type)

    return like(like), codegen


def _strip(vectors: int, part: int):
    """Build the compiled step for some columns of C: tiles of several rows, then two, then one.

    If C has many rows, ``DEPTH`` rows of B are used for all of them, from the first-level cache.
    Unless they lie one after another already, in strips, they are copied there first: the rows of
    B lie far apart in memory, and a cache holds only a few lines at such distances.
    """
    tile, two_rows, row = (_tile(rows, vectors, part) for rows in (ROWS, 2, 1))

    @njit
    def strip(j, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes):
        many = vectors == 2 and m >= 8 * ROWS and depth >= DEPTH // 2
        chunk = DEPTH if many else max(1, depth)
        room = _room(b)  # type: ignore[call-arg, var-annotated]
        whole, even = m - m % ROWS, m - m % 2
        for k in range(0, max(1, depth), chunk):
            count, start, more = min(chunk, depth - k), k * a_column, 1 if k else add
            step = vectors * lanes if strips else n
            rows, first = b, k * step + (j * depth if strips else j)
            if many and not strips:
                _pack(b, first, n, room, count)
                rows, first, step = room, 0, 2 * lanes
            for i in range(0, whole, ROWS):
                x, y = start + i * a_row, i * n + j
                tile(a, x, a_row, a_column, rows, first, step, c, y, n, count, more)
            for i in range(whole, even, 2):
                x, y = start + i * a_row, i * n + j
                two_rows(a, x, a_row, a_column, rows, first, step, c, y, n, count, more)
            for i in range(even, m):
                x, y = start + i * a_row, i * n + j
                row(a, x, a_row, a_column, rows, first, step, c, y, n, count, more)

    return strip


_two, _one, _half, _quarter = _strip(2, 1), _strip(1, 1), _strip(1, 2), _strip(1, 4)
_single = _strip(1, VECTOR_BYTES)


def _multiply(a, a_row, a_column, b, strips, c, m, n, depth, add, lanes):
    """Multiply in strips of two vectors, then the remaining columns in narrower strips."""
    j = 0
    while n - j >= 2 * lanes:
        _two(j, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes)
        j += 2 * lanes
    if n - j >= lanes:
        _one(j, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes)
        j += lanes
    if n - j >= lanes // 2 > 0:
        _half(j, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes)
        j += lanes // 2
    if n - j >= lanes // 4 > 0:
        _quarter(j, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes)
        j += lanes // 4
    for rest in range(j, n):
        _single(rest, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes)


@functools.cache
def _compiled(dtype: np.dtype):
    i, numbers = types.intp, types.CPointer(from_dtype(dtype))
    sig = types.void(numbers, i, i, numbers, i, numbers, i, i, i, i, i)
    return cfunc(sig, cache=True)(_multiply)


def product_of(dtype: np.dtype) -> int:
    """Return the address of the compiled product of matrices of this type.

    Kernels take the address as an argument and jump to it. A kernel that called the function by
    name would be compiled with a copy of its own, half a second to a second more for each kernel.
    """
    return _compiled(dtype).address


@intrinsic
def _jump(typingctx, address, a, a_row, a_column, b, strips, c, m, n, depth, add, lanes):
    """Call the function at an address with integers, some of which are pointers."""
    given = 11

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [args[0].type] * given)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * (1 + given)), codegen


@njit(cache=True, nogil=True)
def multiply(product, a, b, c, add, strips=False):
    """Compute C = AB, or C += AB.

    Args:
        product: from :func:`product_of`, for the type of all three.
        a: [M, K], any strides. b: [K, N] and c: [M, N], contiguous rows.
        add: add the product to c.
        strips: b's memory holds its columns in strips of two vectors, [K, two vectors] one after
            another; N fills whole vectors.
    """
    (m, n), size = c.shape, c.itemsize
    _jump(  # type: ignore[call-arg]  # its first parameter is the compiler's
        product,
        a.ctypes.data,
        a.strides[0] // size,
        a.strides[1] // size,
        b.ctypes.data,
        1 if strips else 0,
        c.ctypes.data,
        m,
        n,
        a.shape[1],
        1 if add else 0,
        VECTOR_BYTES // size,
    )


@njit(cache=True, nogil=True)
def fill(rows, row):
    """Set every row, entry by entry: assigning whole rows takes four times as long to compile."""
    for i in range(rows.shape[0]):
        for j in range(row.size):
            rows[i, j] = row[j]


def square_sums(matrices, scattered=False):
    """Build the compiled step y = M x M^T for a square x of vectors of channels.

    Args:
        matrices: M, of plain numbers, by its kind, the integer that the step takes first.
        scattered: the channels of x lie ``x_channel`` numbers apart, which is else 1.
    """

    @intrinsic
    def sums(typingctx, kind, x, x_row, x_column, x_channel, y, y_row, y_column, channels, like):
        """Read at address x and write at address y; channels fill whole vectors."""
        i = types.intp
        sig = types.void(i, i, i, i, i, i, i, i, i, like)

        def codegen(context, builder, signature, args):
            kind, x, x_row, x_column, x_channel, y, y_row, y_column, channels, _ = args
            number = context.get_data_type(signature.args[-1].dtype)
            size = signature.args[-1].dtype.bitwidth // 8
            lanes = VECTOR_BYTES // size
            vector = ir.VectorType(number, lanes)

            def at(start, row, column, r, c, shift):
                offset = builder.add(builder.mul(row, row.type(r)), shift)
                offset = builder.add(offset, builder.mul(column, column.type(c)))
                address = builder.add(start, builder.mul(offset, offset.type(size)))
                return builder.inttoptr(address, vector.as_pointer())

            def load(place):
                if scattered:
                    return _gathered(builder, vector, place, x_channel)
                return builder.load(place, align=size)

            def apply(matrix, values):
                return [_combination(builder, vector, row, values) for row in matrix]

            def emit(matrix):
                taken = range(len(matrix[0]))
                count = builder.udiv(channels, channels.type(lanes))
                with cgutils.for_range(builder, count, intp=count.type) as loop:
                    shift = builder.mul(loop.index, count.type(lanes))
                    from_x = builder.mul(shift, x_channel)
                    columns = []
                    for c in taken:
                        places = [at(x, x_row, x_column, r, c, from_x) for r in taken]
                        columns.append(apply(matrix, [load(place) for place in places]))
                    for r in range(len(matrix)):
                        for c, total in enumerate(apply(matrix, [k[r] for k in columns])):
                            place = at(y, y_row, y_column, r, c, shift)
                            builder.store(total, place, align=size)

            for which, matrix in matrices.items():
                with builder.if_then(builder.icmp_signed("==", kind, kind.type(which))):
                    emit(matrix)
            return context.get_dummy_value()

        return sig, codegen

    return sums


def _gathered(builder, vector, place, distance):
    """Load the numbers of a vector one by one, at a distance from each other."""
    row = ir.Constant(vector, ir.Undefined)
    first = builder.bitcast(place, vector.element.as_pointer())
    for lane in range(vector.count):
        entry = builder.load(builder.gep(first, [builder.mul(distance, distance.type(lane))]))
        row = builder.insert_element(row, entry, ir.IntType(32)(lane))
    return row


def _combination(builder, vector, factors, values):
    """Add up vectors times constants, the positive constants first, which saves a negation."""
    terms = [(f, v) for f, v in zip(factors, values, strict=True) if f]
    total = None
    for factor, value in sorted(terms, key=lambda term: -term[0]):
        if abs(factor) != 1:
            lanes = [float(abs(factor))] * vector.count
            value = builder.fmul(value, ir.Constant(vector, lanes))
        if total is None:
            total = value if factor > 0 else builder.fneg(value)
        else:
            total = (builder.fadd if factor > 0 else builder.fsub)(total, value)
    return total
