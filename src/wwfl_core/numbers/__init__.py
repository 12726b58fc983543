"""What values are, and how they multiply: arrays, algebras, fixed point, bilinear and linear maps.

Nothing here is secret or shared, and nothing knows a party, a key or a device.
"""

from .algebra import BITS, RING, RING32, Algebra
from .arrays import (
    F64,
    U8,
    U64,
    Array,
    Shape,
    array_of,
    as_float,
    beside,
    contiguous,
    cut,
    freeze,
    from_wire,
    joint_shape,
    numel,
    on_host,
    to_host,
    to_wire,
    wire_form,
)
from .bilinear import (
    Bilinear,
    Composed,
    Conv2d,
    Conv2dGradImage,
    Conv2dGradKernel,
    DirectSum,
    Flip,
    MatMul,
    Mul,
)
from .field import MERSENNE_127, PrimeField
from .fixed_point import HEADROOM_BITS, FixedPoint
from .lazy_array import LazyArray, computed
from .linear import SumPool2d, SumTo
from .number_format import NumberFormat

__all__ = [
    "BITS",
    "F64",
    "HEADROOM_BITS",
    "MERSENNE_127",
    "RING",
    "RING32",
    "U8",
    "U64",
    "Algebra",
    "Array",
    "Bilinear",
    "Composed",
    "Conv2d",
    "Conv2dGradImage",
    "Conv2dGradKernel",
    "DirectSum",
    "FixedPoint",
    "Flip",
    "LazyArray",
    "MatMul",
    "Mul",
    "NumberFormat",
    "PrimeField",
    "Shape",
    "SumPool2d",
    "SumTo",
    "array_of",
    "as_float",
    "beside",
    "computed",
    "contiguous",
    "cut",
    "freeze",
    "from_wire",
    "joint_shape",
    "numel",
    "on_host",
    "to_host",
    "to_wire",
    "wire_form",
]
