"""Memory of large intermediate results, which the C library keeps for the next ones rather than returning it to the system.

A layer's results take megabytes and live for milliseconds. If each of them is new memory, the system clears it page by page when it
is first written: 66,000 page faults in one call of Whisper-base's encoder with two recordings, a tenth of its time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import sys
from collections.abc import Callable

import torch

__all__ = ["LEAST_ROWS", "MOST_AHEAD", "keep_freed_memory", "use_huge_pages"]

LEAST_ROWS = 128
"""Rows of a call, from which its results exceed the 128 KiB that the C library keeps in any case."""

MOST_AHEAD = 30 << 20
"""Bytes for which `use_huge_pages` prepares the heap, which larger blocks do not come from."""

LARGEST = (32 << 20) - (8 << 10)
"""Bytes of the largest block by which glibc raises its thresholds, together with its header, in whole pages."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep memory of blocks below 32 MiB that are freed; all but the first call return at once.

    The GNU C library gets blocks above a threshold from the system one by one, and returns them when they are freed. It raises the
    threshold when such a block is freed, to its size and at most 32 MiB, and returns the free end of its heap only when that
    exceeds twice the threshold. So memory is kept once any program has freed an array of 32 MiB; here, such a block is allocated and
    freed without being written, in some 20 microseconds.

    Up to 64 MiB at the end of the heap then stay with the process, and so do gaps between blocks in use, until they are used again.
    Each other thread has a separate heap of at most 64 MiB; all but one of those that are empty are returned. A larger array is
    still allocated apart, and returned when it is freed.

    Nothing is changed where other settings are chosen, by the variables `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_TOP_PAD_`, `MALLOC_MMAP_MAX_` or `GLIBC_TUNABLES`, nor with another C library, system or allocator.

    Example:
        >>> from notebook_kit.nn.heap import keep_freed_memory
        >>> keep_freed_memory()

    Source: mallopt(3), on `M_MMAP_THRESHOLD` and `M_TRIM_THRESHOLD`, and `free` in malloc/malloc.c of the GNU C library.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(RuntimeError):  # the process may not have so much memory
        torch.UntypedStorage(LARGEST)  # rather than a tensor, which modes of torch may fill or intercept


def use_huge_pages() -> None:
    """Let the system clear the next 30 MiB of the heap in pages of 2 MiB, rather than of 4 KiB, when they are first written.

    For memory that is new to the process and filled at once, such as copies of weights: with 4 KiB, each page costs about 1 µs, half of
    the time of such a copy. Of the blocks that were free anyway, those that the next allocations use are advised. Nothing happens
    where the system has no such pages or does not let programs ask for them.

    Example:
        >>> from notebook_kit.nn.heap import use_huge_pages
        >>> use_huge_pages()

    Source: madvise(2), on `MADV_HUGEPAGE`.
    """
    if (advise := _madvise()) is None:
        return
    keep_freed_memory()  # else the block is returned to the system when it is freed
    with contextlib.suppress(RuntimeError):
        block = torch.UntypedStorage(MOST_AHEAD)
        start = -(-block.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        advise(start, MOST_AHEAD - 2 * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)  # type: ignore[attr-defined, unused-ignore]


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
