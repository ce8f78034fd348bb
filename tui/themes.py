"""Calm colours, dark and light, and one theme for terminals where colour is not wanted."""

from textual.theme import Theme

DARK = Theme(
    name="tritontui-dark",
    primary="#76b900",
    secondary="#5fa8d3",
    accent="#5fa8d3",
    success="#76b900",
    warning="#e0af45",
    error="#e5705c",
    foreground="#d5d8d2",
    background="#12151a",
    surface="#181c22",
    panel="#222831",
    boost="#2b323d",
    dark=True,
    variables={"border": "#3a424e", "border-blurred": "#2b323d", "footer-key-foreground": "#5fa8d3"},
)
LIGHT = Theme(
    name="tritontui-light",
    primary="#3f6b00",
    secondary="#1f5f8b",
    accent="#1f5f8b",
    success="#3f6b00",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#1b1f23",
    background="#f7f8f5",
    surface="#eef0eb",
    panel="#e2e5de",
    boost="#d5d9d0",
    dark=False,
    variables={"border": "#a9b0a4", "border-blurred": "#c9cec4", "footer-key-foreground": "#1f5f8b"},
)
PLAIN = Theme(
    name="tritontui-plain",
    primary="#ffffff",
    secondary="#ffffff",
    accent="#ffffff",
    success="#ffffff",
    warning="#ffffff",
    error="#ffffff",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#303030",
    boost="#303030",
    dark=True,
    variables={
        "border": "#909090",
        "border-blurred": "#606060",
        "text-muted": "#c0c0c0",
        "block-cursor-text-style": "bold reverse",
    },
)
THEMES = (DARK, LIGHT, PLAIN)
