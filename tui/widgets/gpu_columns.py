"""Which columns a line of the GPU panel has, by the room that there is."""

from dataclasses import dataclass
from typing import Any

SPARK_WIDTH = 8
BAR_WIDTH, WIDE_BAR_WIDTH, WIDEST_BAR_WIDTH = 8, 14, 24
INDEX_WIDTH = 3
LEAST_USERS, MOST_USERS = 8, 40
LOAD_WIDTH = 6


@dataclass(frozen=True, slots=True)
class Columns:
    """What a line has, besides index and load; alike for all GPUs, so that their figures stand below each other."""

    memory: bool = False
    bar: int = 0
    users: int = 0
    temperature: bool = False
    spark: int = 0
    power: bool = False
    limit: bool = False
    """Of the power"""

    @classmethod
    def fitting(cls, width: int, wanted: int) -> "Columns":
        """By importance, as many as fit; `wanted`: cells that what is said of the GPUs would like to have."""
        room = width - INDEX_WIDTH - LOAD_WIDTH
        wants: tuple[tuple[str, int, Any], ...] = (
            ("memory", 14, True),
            ("bar", BAR_WIDTH + 1, BAR_WIDTH),
            ("users", LEAST_USERS + 2, LEAST_USERS),
            ("temperature", 7, True),
            ("spark", SPARK_WIDTH + 1, SPARK_WIDTH),
            ("power", 8, True),
        )
        kept: dict[str, Any] = {}
        for name, cells, value in wants:
            if cells > room:
                if "users" in kept:
                    kept["users"] = LEAST_USERS + room
                return cls(**kept)
            kept[name] = value
            room -= cells
        more = min(max(0, wanted - LEAST_USERS), MOST_USERS, room)
        room -= more
        extras = (("limit", 4, True), ("bar", WIDE_BAR_WIDTH - BAR_WIDTH, WIDE_BAR_WIDTH))
        widest = (("spark", SPARK_WIDTH // 2, SPARK_WIDTH * 3 // 2), ("bar", 10, WIDEST_BAR_WIDTH))
        for name, cells, value in (*extras, *widest):
            if cells > room:
                break
            kept[name] = value
            room -= cells
        kept["users"] = LEAST_USERS + more + room
        return cls(**kept)
