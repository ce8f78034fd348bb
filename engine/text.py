"""Text from outside, cleaned of what would steer a terminal and of secrets. Logs, names and answers pass here once."""

import re

TAB = "    "

# C0 without \n, DEL, C1; bidirectional controls and invisible format characters that make text read other than it is;
# line and paragraph separators; lone surrogates, which no terminal's encoding can write. Joiners (U+200C, U+200D) stay:
# words of several languages need them.
_INVISIBLE = "\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_TRIGGER = f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_INVISIBLE}\ud800-\udfff]"
# A control string (OSC, DCS, SOS, PM, APC) ends at ST or BEL; one that is never ended takes no more than its line.
_STRING = r"[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
_CSI = r"[0-?]*[ -/]*[@-~]?"
_SEQUENCE = rf"(?<=\x1b)(?:\[{_CSI}|[\]PX^_]{_STRING}|[ -/]*[0-~]?)|(?<=\x9b){_CSI}|(?<=[\x90\x98\x9d-\x9f]){_STRING}"
_UNWANTED = re.compile(f"{_TRIGGER}(?:{_SEQUENCE})?")
COLOUR = re.compile(r"\x1b\[([0-9;:]{0,64})m")
"""The one kind of sequence that `clean_but_colours` leaves (SGR)"""
_UNWANTED_BUT_COLOURS = re.compile(rf"(?!{COLOUR.pattern}){_UNWANTED.pattern}")
_SUSPECT = re.compile(_TRIGGER)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ASCII_CONTROLS = bytes(byte for byte in (*range(32), 127) if byte != 10)


def squeezed(text: str) -> bytes:
    """In UTF-8, without digits and what else ids are made of."""
    return text.encode("utf-8", "replace").translate(None, b"0123456789abcdef")


# Each kind of secret: strings that must occur (cheap to look for), what is replaced, and what remains of it. No pattern
# crosses a line, and each begins with a literal or follows a rare hint: a block of log is searched at the speed of C.
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("hf_",), re.compile(r"hf_[A-Za-z0-9]{16,}"), "hf_***"),
    (("nvapi-",), re.compile(r"nvapi-[A-Za-z0-9_-]{16,}"), "nvapi-***"),
    (("sk-",), re.compile(r"(?<![A-Za-z0-9_-])sk-[A-Za-z0-9_-]{20,}"), "sk-***"),
    (("earer", "EARER"), re.compile(r"(bearer[ \t]+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1***"),
    (
        ("uthorization", "UTHORIZATION"),
        re.compile(r"(authorization['\"]?[ \t]*[=:,][ \t]*b?['\"]?basic[ \t]+)[A-Za-z0-9+/=_-]{4,}", re.IGNORECASE),
        r"\1***",
    ),
    (("token=",), re.compile(r"((?<=[?&])(?:\w+_)?token=)[^\s&'\"#]{4,}"), r"\1***"),
    (("://",), re.compile(r"(?<=://)([^/\s:@]*:)[^/\s@]+(?=@)"), r"\1***"),
    (
        ("pi_key", "PI_KEY", "pi-key", "PI-KEY", "pi-Key", "pikey", "piKey", "PIKEY"),
        re.compile(
            r"(api[_-]?key['\"]?(?:[ \t]*[=:][ \t]*|[ \t]+)[\[(]?['\"]?)(?!None\b|null\b)[^\s'\",;&)\]]{4,}",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
)
_SECRETS = tuple(
    (tuple((hint, squeezed(hint)) for hint in hints), pattern, remainder) for hints, pattern, remainder in _PATTERNS
)
_LONG = 1024
"""Characters of a text that is worth a look at its kinds of lines first"""
# The last word of a line of which more may come: it may become a secret.
_BEGUN = re.compile(
    r"((?:hf_|nvapi-|(?<![A-Za-z0-9_-])sk-|bearer[ \t]|basic[ \t]|token=|://[^/\s:@]*:"
    r"|api[_-]?key['\"]?[ \t=:]+[\[(]?['\"]?))"
    r"(?!None|null|\*\*\*)[^\s'\",;&)\]]+\Z",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    r"""Without control characters and terminal sequences, complete or cut; tabs become four spaces, `\n` stays.

    Every character that can begin a sequence is removed, so pieces of a stream may be cleaned one by one: the rest of a
    sequence that was cut between two pieces shows as harmless text.
    """
    if text.isascii():
        if is_plain(text.encode("ascii")):
            return text
    elif not _SUSPECT.search(text):
        return text
    text = text.replace("\t", TAB)
    text = _SURROGATE.sub("\ufffd", text) if not text.isascii() else text
    return _UNWANTED.sub("", text)


def clean_but_colours(text: str) -> str:
    """As `clean`, but what sets colours stays: every ESC that is left begins a match of `COLOUR`."""
    if "\x1b[" not in text:
        return clean(text)
    bare = COLOUR.sub("", text)
    if clean(bare) == bare:
        return text
    text = text.replace("\t", TAB)
    text = _SURROGATE.sub("\ufffd", text) if not text.isascii() else text
    return _UNWANTED_BUT_COLOURS.sub("", text)


def clean_line(text: str) -> str:
    """`clean`, and on one line: line breaks become spaces. For names and messages."""
    return " ".join(clean(text.replace("\r", "\n")).split("\n"))


def is_plain(data: bytes) -> bool:
    """ASCII with no control character but line feeds: `clean` would change nothing."""
    return data.isascii() and len(data.translate(None, _ASCII_CONTROLS)) == len(data)


def mask_secrets(text: str) -> str:
    """Tokens and keys that programs print by mistake, replaced by `***` after what tells their kind."""
    kinds = kinds_of_lines(text) if len(text) > _LONG else None
    for hints, pattern, remainder in _SECRETS:
        for hint, short in hints:
            if (kinds is None or short in kinds) and hint in text:
                text = pattern.sub(remainder, text)
                break
    return text


def kinds_of_lines(text: str) -> bytes:
    """Each line once of those that differ in numbers and ids only, `squeezed`: a busy log says the same over and over.

    What occurs in a line occurs in it squeezed, too: so what is looked for in a long text is first looked for in this.
    """
    return b"\n".join(set(squeezed(text).split(b"\n")))


def mask_unfinished(text: str) -> str:
    """Takes away what stands last in an unfinished line if it may be the beginning of what `mask_secrets` masks."""
    return _BEGUN.sub(r"\1***", text)
