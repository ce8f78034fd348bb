"""Takes out of a log what tells of the machine on which it was recorded, and leaves the rest as it was."""

import ipaddress
import re
import socket
from collections.abc import Mapping

_FIRST_PID = 200
_PIDS = (
    re.compile(r"\bpid[= ](\d+)"),
    re.compile(r"server process \[(\d+)\]"),
    re.compile(r"^[IWEF]\d{4} [\d:.]+ (\d+) ", re.MULTILINE),
    re.compile(r"\bprocess (?:id )?(\d{4,7})\b"),
)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_DOCUMENTATION = ipaddress.ip_network("192.0.2.0/24")
_ELSEWHERE = "192.0.2.10"


def neutral(log: str, places: Mapping[str, str]) -> str:
    """`places`: paths and addresses of this machine, and what stands in their place; the longest goes first.

    Process ids become small numbers in order of their appearance; addresses of this machine's interfaces one that is no
    one's; its name becomes `server`.
    """
    for here in sorted(places, key=len, reverse=True):
        log = log.replace(here, places[here])
    pids = {pid: number for number, pid in enumerate(_in_order(log), _FIRST_PID)}
    if pids:
        every = re.compile(rf"(?<![\w.:-])({'|'.join(map(re.escape, pids))})(?![\w.:-]|\s*(?:MiB|GiB|tokens))")
        log = every.sub(lambda match: str(pids[match[1]]), log)
    log = _ADDRESS.sub(lambda match: _elsewhere(match[0]), log)
    return re.sub(rf"(?<![\w./-]){re.escape(socket.gethostname())}(?![\w./-])", "server", log)


def _in_order(log: str) -> list[str]:
    found = sorted((match.start(1), match[1]) for pattern in _PIDS for match in pattern.finditer(log))
    return list(dict.fromkeys(pid for _, pid in found if int(pid) > _FIRST_PID))


def _elsewhere(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    nobody_s = address.is_loopback or address.is_unspecified or address in _DOCUMENTATION
    return _ELSEWHERE if address.is_private and not nobody_s else text
