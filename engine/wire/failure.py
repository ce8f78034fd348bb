"""Why there is no answer."""

from enum import Enum, auto


class Failure(Enum):
    NO_URL = auto()
    """It is no http URL"""
    UNREACHABLE = auto()
    REFUSED = auto()
    """Nothing listens there"""
    NOT_FOUND = auto()
    """The name service did not answer in time"""
    NOT_ACCEPTED = auto()
    """The connection was not taken in time"""
    SILENT = auto()
    """The connection was taken, and nothing came in time"""
    UNFINISHED = auto()
    """An answer began and did not end in time"""
    NO_HTTP = auto()
    """What came was no HTTP"""
    CUT = auto()
    """The connection ended before the answer did"""
    TOO_LARGE = auto()
    PIECEMEAL = auto()
    """It came in so many pieces that to put them together would keep everything else waiting"""


class UnansweredError(Exception):
    """`str()` is what was said of it, if anything, as it came: by the system, the parser or the name service.

    `untaken`: the other end has received nothing of the request, which may therefore be sent again.
    """

    def __init__(self, failure: Failure, said: str = "", *, untaken: bool = False) -> None:
        super().__init__(said)
        self.failure = failure
        self.untaken = untaken
