"""Puts together what plans and operations work with, for the console and for an operation's own process alike."""

from engine.audit import Audit
from engine.catalog import CatalogReader
from engine.deployments import Deployments
from engine.diagnose.of_deployment import Diagnoses
from engine.launch_history import LaunchHistory
from engine.launches import Launches
from engine.load.runs import LoadRuns
from engine.observe.gpu_processes import GpuProcesses
from engine.observe.metric_history import History
from engine.operations import fast
from engine.operations.conductor import Conductor
from engine.operations.drain import drained_by
from engine.operations.gpu_memory import wait_for_memory
from engine.operations.job import Tools
from engine.operations.swap_plan import SwapPlanner
from engine.operations.waiting import Waiting
from engine.operations.ways import choose_way
from engine.plan import Adoption, Plan
from engine.planning import Planning
from engine.prompts.kept import KeptPrompts
from engine.request import Way
from engine.runtimes import RUNTIMES
from engine.runtimes.base import Runtime
from engine.settings import Settings
from engine.store import Journal


class Parts:
    def __init__(self, settings: Settings, runtimes: dict[str, Runtime] | None = None) -> None:
        self.settings = settings
        self.runtimes = runtimes or {name: make(settings) for name, make in RUNTIMES.items()}
        self.catalog = CatalogReader(settings)
        self.deployments = Deployments(self.runtimes)
        self.journal = Journal(settings.history_path)
        self.history = LaunchHistory(Launches(settings.history_path), self.runtimes)
        self.metric_history = History(settings.state_dir / "metrics.sqlite")
        self.prompts = KeptPrompts(settings.state_dir / "prompts.sqlite", keep=settings.keep_prompts)
        self.loads = LoadRuns(settings.state_dir / "loads.sqlite")
        self.audit = Audit(settings.audit_path)
        self.planning = Planning(settings, self.runtimes, self.catalog)
        self.diagnoses = Diagnoses(self.deployments, self.catalog.load, self.journal.recent)
        self.processes = GpuProcesses(self.runtimes)
        self.swaps = SwapPlanner(self.planning.plan, self.runtimes, self.processes, choose_way, drained_by, fast.sleeps)

    def plan_adoption(self, name: str) -> Adoption:
        """Blocks. Raises `EngineError`."""
        from engine.authoring.adoption import plan_adoption

        return plan_adoption(name, self.runtimes, self.catalog.load(), self.settings)

    def wait_for_memory(self, plan: Plan, waiting: Waiting, way: Way) -> str:
        return wait_for_memory(plan, self.planning.sampler.sample, self.processes, waiting, way=way)

    @property
    def conductor(self) -> Conductor:
        return Conductor(
            Tools(
                settings=self.settings,
                deployments=self.deployments,
                journal=self.journal,
                plan=self.planning.plan,
                plan_swap=self.swaps.plan,
                plan_adoption=self.plan_adoption,
                wait_for_memory=self.wait_for_memory,
                history=self.history,
                diagnose=self.diagnoses.of_run,
            ),
            self.audit.append,
        )
