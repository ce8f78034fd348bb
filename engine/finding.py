"""What the doctor finds. Light to import. What `tritontui doctor --json` prints."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    INFO = "info"
    """Worth knowing, nothing to do"""
    WARNING = "warning"
    """Works, and will hurt: slowly, or one day"""
    ERROR = "error"
    """Something that is wanted cannot work"""
    UNKNOWN = "unknown"
    """It could not be looked at, and the evidence says why"""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """Its id: `driver`, `shared-memory`; one check may have several findings"""
    title: str
    """What was looked at, in a few words"""
    severity: Severity
    evidence: str
    """What was seen, with figures and their source"""
    remedy: str = ""
    """A sentence"""
    command: str = ""
    """What mends it, to be read and typed by the operator; never run by tritontui"""
