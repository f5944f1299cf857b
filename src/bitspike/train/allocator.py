"""Let the C allocator keep big blocks, which makes training on a CPU faster.

glibc gives every block above a threshold back to the system as soon as it is freed; the next tensor of that size then
pays for fresh pages, which costs more than writing to it. The switch is for a whole process and keeps freed memory in
it, so only the command line turns it on.
"""

from __future__ import annotations

import ctypes
import platform

# Numbers of the options in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEPT_BYTES = 2**31 - 1
_GROWTH_BYTES = 64 * 2**20


def keep_memory() -> bool:
    """Tell glibc to keep freed blocks for the next tensor; do nothing under another C library.

    Returns:
        whether the allocator took every setting.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _KEPT_BYTES, _M_TOP_PAD: _GROWTH_BYTES}
    taken = [mallopt(option, value) == 1 for option, value in settings.items()]
    return all(taken)
