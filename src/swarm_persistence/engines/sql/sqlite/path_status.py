"""Reads device, inode and size of a path, without its times.

Since Linux 6.13, a file whose times were read gets new ones with its next write, which fdatasync then writes to the
journal: one `lstat` a commit made a caller's single commits take half as long again.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

# The layout of struct statx: https://man7.org/linux/man-pages/man2/statx.2.html
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO_AND_SIZE = 0x100 | 0x200
_Buffer = ctypes.c_char * 256
_INODE_SIZE_DEVICE = Struct("=32xQQ88xQ")


class PathStatus(NamedTuple):
    """What stands at a path; a symbolic link is not followed."""

    device: int
    """Equal for two paths of one file system; no number of the operating system."""
    inode: int
    size: int


def _by_lstat(path: str) -> PathStatus:
    found = os.lstat(path)
    return PathStatus(found.st_dev, found.st_ino, found.st_size)


def _find_way() -> Callable[[str], PathStatus]:
    try:
        statx = ctypes.CDLL(None, use_errno=True).statx
    except (AttributeError, OSError, TypeError):
        return _by_lstat  # another system, or a C library that lacks it
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)

    def by_statx(path: str) -> PathStatus:
        found = _Buffer()
        if statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_INO_AND_SIZE, found):
            number = ctypes.get_errno()
            if number in (errno.ENOSYS, errno.EPERM):
                return _by_lstat(path)  # an old kernel, or a sandbox that does not know the call
            raise OSError(number, os.strerror(number), path)
        inode, size, device = _INODE_SIZE_DEVICE.unpack_from(found)
        return PathStatus(device, inode, size)

    return by_statx


path_status = _find_way()
"""Return what stands at a path; raises `OSError` as `os.lstat` does."""
