"""What changes in a profile's file, as `diff -u` writes it."""

import difflib


def diff_lines(before: str, after: str, path: str, *, context: int = 3) -> list[str]:
    """Without line ends; the two lines of the file's name first. None when nothing changes."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, n=context, lineterm=""))
