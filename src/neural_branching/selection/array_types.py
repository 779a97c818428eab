"""Annotations of arrays with type and shape, such as ``Float64[np.ndarray, "n classes"]``, by jaxtyping.

Axes of one name have one size within a call. Tests check every call against its annotations; otherwise an
annotation is for readers and type checkers, and nothing but the array's class: importing jaxtyping would take
as long as a tenth of everything else that checks what was typed.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float32 as Float32
    from jaxtyping import Float64 as Float64
    from jaxtyping import Int32 as Int32
    from jaxtyping import Int64 as Int64
    from jaxtyping import Integer as Integer
    from jaxtyping import Shaped as Shaped
    from jaxtyping import UInt16 as UInt16
else:

    class _Unchecked:
        def __class_getitem__(cls, array_and_axes: tuple[Any, str]) -> Any:
            return array_and_axes[0]

    Bool = Float = Float32 = Float64 = Int32 = Int64 = Integer = Shaped = UInt16 = _Unchecked
