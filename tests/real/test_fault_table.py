"""A part of the fault table on the real Docker Engine and the real Triton server; `make faults` runs all of it."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.laboratory import impossible, run_all
from tests.faults.printed import kept, tables
from tests.faults.table import CHOSEN, FAULTS, STEPS, Cell, Result, cells

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


AT_A_TIME = 2
pytestmark = pytest.mark.timeout(900)  # the first one waits for those that are run before it


@dataclass
class Benches:
    """They begin with the first cell that is asked for, and go on while the tests look at what came of it."""

    results: Generator[Result, None, None]
    known: dict[str, Result] = field(default_factory=dict)

    def result(self, cell: Cell) -> Result:
        while cell.key not in self.known:
            found = next(self.results, None)
            assert found, "the bench that had this cell is gone"
            self.known[found.key] = found
        return self.known[cell.key]


@pytest.fixture(scope="module")
def benches(request: pytest.FixtureRequest) -> Iterator[Benches]:
    if why := impossible():
        pytest.skip(why)
    parameters = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = [found.params["cell"] for found in parameters if found and "cell" in found.params]
    with closing(run_all([cell for cell in wanted if isinstance(cell, Cell)], AT_A_TIME)) as results:
        yield Benches(results)


@pytest.mark.docker
@pytest.mark.parametrize("cell", [cell for cell in cells() if cell.short in CHOSEN], ids=lambda cell: cell.key)
def test_it_ends_in_a_known_state(benches: Benches, cell: Cell) -> None:
    result = benches.result(cell)
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
