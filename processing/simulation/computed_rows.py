"""A sequence of arrays of which each is made when it is asked for, and none is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ComputedRows(Sequence["npt.NDArray[np.float64]"]):
    """Base of such sequences; a subclass gives the length and the rows."""

    @abstractmethod
    def row(self, k: int) -> npt.NDArray[np.float64]:
        """Return the k-th array, 0 <= k < len(self)."""

    @overload
    def __getitem__(self, k: int) -> npt.NDArray[np.float64]: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[npt.NDArray[np.float64]]: ...
    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return [self.row(j) for j in range(*k.indices(len(self)))]
        if not 0 <= k < len(self):
            # What ends a loop over a sequence.
            raise IndexError(k)
        return self.row(k)
