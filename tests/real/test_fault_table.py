"""A part of the fault table on the real Docker Engine and the real Triton server; `make faults` runs all of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.laboratory import Bench, bench, impossible
from tests.faults.printed import kept, tables
from tests.faults.table import CHOSEN, FAULTS, STEPS, Cell, Result, cells

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def machine() -> Iterator[Bench]:
    if why := impossible():
        pytest.skip(why)
    with bench() as made:
        yield made


@pytest.mark.docker
@pytest.mark.parametrize("cell", [cell for cell in cells() if cell.short in CHOSEN], ids=lambda cell: cell.key)
def test_it_ends_in_a_known_state(machine: Bench, cell: Cell) -> None:
    result = machine.run(cell)
    assert not result.broken, f"{result.outcome}: {result.message}"


def test_the_chosen_cells_have_every_step_and_every_fault() -> None:
    chosen = [cell for cell in cells() if cell.short in CHOSEN]
    assert len(chosen) == len(CHOSEN)
    assert {(cell.operation, cell.step) for cell in chosen} == {
        (operation, step) for operation, steps in STEPS.items() for step in steps
    }
    assert {cell.fault.name for cell in chosen} == {fault.name for fault in FAULTS}


def test_the_document_has_the_table_that_is_held_to() -> None:
    expected = {cell.key: Result(cell.key, cell.outcome, "", (), 0.0) for cell in cells()}
    assert kept(DOCUMENT.read_text(encoding="utf-8")).startswith(tables(expected))
