"""What a backend is: something that turns a kernel into a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.backends.pulse import Pulse
    from tilejit.compiler.kinds import Signature
    from tilejit.kernel.counts import Counts
    from tilejit.kernel.kernel import Kernel


class Launch(Protocol):
    """A compiled kernel, called for each tile."""

    def __call__(
        self,
        arrays: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        nodata: Sequence[Any],
        scalars: Sequence[Any],
        pulse: Pulse | None = None,
    ) -> Counts:
        """Computes one tile.

        Args:
            arrays: For each raster its cells, C-contiguous, padded by the kernel's radius on every side; after the
                array of an integer parameter comes its validity (uint8, 1 where valid), of the same shape.
            outputs: For each result an array of the inner shape, which is overwritten.
            nodata: For each result its nodata value, in the result's dtype.
            scalars: For each keyword-only parameter a number in the compute dtype; for a quantity that varies by row
                or column a 1-D array over the inner rows or columns; for ROW and COL that of the first pixel.
            pulse: What stops it, and tells how far it is. A launch that was stopped leaves its outputs half written.

        Returns:
            What is to be told of its pixels, such as how many valid ones got a result that equals nodata.
        """
        ...


class Backend(Protocol):
    """Compiles kernels for one kind of hardware."""

    name: str
    """What ``backend=`` calls it."""

    def why_not(self) -> str | None:
        """Returns why it cannot run on this machine, or None when it can."""
        ...

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the launch of ``kernel`` for one signature."""
        ...

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the generated source."""
        ...
