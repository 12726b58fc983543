"""The conformance kit's checks of conversion: a protocol under test, to and from every other
protocol that is given.

    from reshare.testing import conversion
    print(conformance(MyProtocol, extra=[conversion({"2pc": Additive2PC, "4pc": Tetrad4PC})]))

Needs neither pytest nor hypothesis. The checks call a converter `convert(x, to) -> Handle`; any
function of that form can be judged in place of `reshare`."""

from .pairs import Convert
from .suite import conversion, convert

__all__ = ["Convert", "conversion", "convert"]
