"""What of deployments and their profiles matters to the GPUs that they run on."""

from collections.abc import Iterable, Mapping

from engine.catalog import CatalogEntry
from engine.deployment import Deployment, Lifecycle
from engine.drift import facts, made_from
from engine.fit.values import count
from engine.observe.gpu_shares import Around, Figures

_OPTIONS = ("option --tensor-parallel-size", "option -tp", "option --tp_size")
_ENGINE = ("tensor_parallel_size", "tp_size")


def gather(
    deployments: Iterable[Deployment],
    entries: Mapping[str, CatalogEntry],
    planned: Mapping[str, Mapping[str, int]],
    reported: Mapping[str, tuple[Figures, ...]],
) -> Around:
    """`planned` and `reported` as in `Around`."""
    found = tuple(deployments)
    running = [one for one in found if one.lifecycle is Lifecycle.RUNNING and len(one.gpus) != 1]
    sizes = {one.name: tensor_parallel(one, entries.get(one.name)) for one in running}
    return Around(found, planned, {name: size for name, size in sizes.items() if size > 1}, reported)


def tensor_parallel(deployment: Deployment, entry: CatalogEntry | None) -> int:
    """Over how many GPUs each layer is spread: by its command line, or else by the profile that it was made from."""
    known = facts(deployment.launch_facts)
    stated = next((known[option] for option in _OPTIONS if option in known), None)
    if stated is None and entry and made_from(deployment.launch_facts)[0] == entry.digest:
        stated = next((str(entry.profile.engine[key]) for key in _ENGINE if key in entry.profile.engine), None)
    return count(stated) or 1
