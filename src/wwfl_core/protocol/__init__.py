"""One party's end of a protocol: what its author gives, and what follows from that.

`MPCBackend` asks for a sharing and a product. Dealing, opening, truncation, comparison and the
change of modulus follow (`DerivedOperations`), and a protocol overrides what it can do cheaper.
Here is no named protocol (those are in `backends`) and no tensor (programs are in `tensors`)."""

from .backend import MPCBackend, checked_protocol
from .bit_format import Bools, FieldBits
from .bit_planes import AND, carry_ands, check_window, packed, plane_shape, planes
from .dealing import PointDealing, TableDealing
from .declared_cost import DeclaredCost, Sizes, bits_of
from .modulus import divides, parts, reduce_modulus
from .registry import Factory, backends, resolve
from .shares import Known
from .truncation import low_mask, right_bits, shifted_plus_one, star_bits

__all__ = [
    "AND",
    "Bools",
    "DeclaredCost",
    "Factory",
    "FieldBits",
    "Known",
    "MPCBackend",
    "PointDealing",
    "Sizes",
    "TableDealing",
    "backends",
    "bits_of",
    "carry_ands",
    "check_window",
    "checked_protocol",
    "divides",
    "low_mask",
    "packed",
    "parts",
    "plane_shape",
    "planes",
    "reduce_modulus",
    "resolve",
    "right_bits",
    "shifted_plus_one",
    "star_bits",
]
