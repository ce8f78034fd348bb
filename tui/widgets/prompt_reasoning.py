"""What a model says to itself before it answers, in servers that leave it in the text. Knows no widget."""

_BEGIN, _END = "<think>", "</think>"


def told_apart(text: str) -> tuple[str, str]:
    """Reasoning and answer. A chat template may have opened the reasoning already: then the text has its end only."""
    start = text.lstrip()
    if start.startswith(_BEGIN):
        reasoning, _, answer = start.removeprefix(_BEGIN).partition(_END)
        return reasoning.strip(), answer.lstrip("\n")
    reasoning, end, answer = text.partition(_END)
    return (reasoning.strip(), answer.lstrip("\n")) if end and _BEGIN not in reasoning else ("", text)


def without_reasoning(text: str) -> str:
    """The answer, as it belongs into a conversation."""
    return told_apart(text)[1]
