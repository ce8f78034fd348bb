"""How checks are carried out: each by itself, with a deadline, the gravest told first; and what profiles need."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.catalog import CatalogReader
from engine.diagnose.doctor import CHECKS, examine
from engine.diagnose.doctor.check import ORDER, Check, carry_out
from engine.diagnose.doctor.facts import Facts, Once
from engine.diagnose.doctor.image_drivers import rows
from engine.diagnose.doctor.needs import read_needs
from engine.errors import NotFound, OperationFailed
from engine.finding import Finding, Severity
from engine.settings import Settings
from engine.stacks.versions import releases
from tests.unit.doctor_facts import facts, machine, worst

PROFILE = """
name: mine
stack: vllm
image: vllm/vllm-openai:v0.11.0
model: some/model
gpus: 4
engine: {tensor_parallel_size: 4}
expose: {http: 8123}
secrets: {HF_TOKEN: env}
shm_size: 128m
fit: {model: {parameters: 8, num_hidden_layers: 32, num_attention_heads: 32}}
"""


def said(check: str, severity: Severity = Severity.OK, evidence: str = "seen") -> Finding:
    return Finding(check, f"{check} title", severity, evidence)


def test_what_hangs_fails_or_raises_hides_nothing_of_the_others(tmp_path: Path) -> None:
    for_ever = threading.Event()
    streamed: list[Finding] = []

    def hangs(_: Facts) -> Iterator[Finding]:
        for_ever.wait(60)
        yield said("hangs")

    def breaks(_: Facts) -> Iterator[Finding]:
        yield said("breaks", Severity.ERROR)
        raise ZeroDivisionError("\x1b[2Joops hf_" + "a" * 34)

    def refuses(_: Facts) -> Iterator[Finding]:
        raise OperationFailed("Docker said no.", "Ask again.")
        yield

    checks = (
        Check("hangs", "the first", hangs, 0.3),
        Check("breaks", "the second", breaks),
        Check("refuses", "the third", refuses),
        Check("well", "the fourth", lambda _: [said("well"), said("well", Severity.WARNING)]),
    )
    try:
        found = carry_out(checks, facts(machine(tmp_path)), streamed.append)
    finally:
        for_ever.set()
    assert worst(found) == [
        (Severity.WARNING, "well title"),
        (Severity.UNKNOWN, "Not looked at: the first"),
        (Severity.UNKNOWN, "Not looked at: the second"),
        (Severity.UNKNOWN, "Not looked at: the third"),
    ]
    evidence = {one.check: one.evidence for one in found if one.severity is Severity.UNKNOWN}
    assert evidence == {
        "hangs": "No answer within 0.3 s.",
        "breaks": "Unexpected ZeroDivisionError: oops hf_***.",
        "refuses": "Docker said no.",
    }
    assert sorted(map(str, streamed)) == sorted(map(str, found))
    assert list(found) == sorted(found, key=lambda one: ORDER.index(one.severity))


def test_text_from_outside_is_cleaned_and_masked(tmp_path: Path) -> None:
    hostile = said("x", evidence="\x1b]52;c;aGk=\x07tcp://nvapi-" + "a" * 30)
    (found,) = carry_out((Check("x", "x", lambda _: [hostile]),), facts(machine(tmp_path)))
    assert found.evidence == "tcp://nvapi-***"


def test_a_source_is_asked_once_also_when_it_fails() -> None:
    asked = []

    def question() -> str:
        asked.append(1)
        raise OperationFailed("No.")

    once, failures = Once(question), []

    def ask() -> None:
        try:
            once()
        except OperationFailed as error:
            failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(asked), failures) == (1, ["No."] * 5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "profiles").mkdir()
    return Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", working_dir=tmp_path)


def test_what_profiles_need(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    examples = read_needs(settings, CatalogReader(settings).load(), [])
    assert not examples.wanted
    assert len(examples.profiles) > 5
    started = read_needs(settings, CatalogReader(settings).load(), ["qwen3-0.6b"])
    assert ([need.name for need in started.profiles], started.wanted) == (["qwen3-0.6b"], True)

    (tmp_path / "profiles/mine.yaml").write_text(PROFILE)
    (tmp_path / "profiles/odd.yaml").write_text(
        PROFILE.replace("name: mine", "name: odd").replace("gpus: 4", "gpus: 1")
    )
    (tmp_path / "profiles/bad.yaml").write_text("name: bad\nstack: vlm\n")
    needs = read_needs(settings, CatalogReader(settings).load(), [])
    (need,) = needs.profiles
    assert (need.name, need.gpus, need.ranks, need.shm_bytes, need.cached) == ("mine", 4, 4, 128 << 20, False)
    assert (need.model, need.model_bytes, need.secrets) == ("some/model", 16_000_000_000, {"HF_TOKEN": "env"})
    assert [port.host_port for port in need.ports] == [8123]
    ((name, why),) = needs.unplanned
    assert (name, "needs 4 GPUs" in why) == ("odd", True)
    assert "bad.yaml" in needs.invalid[0]
    snapshot = tmp_path / "hf/hub/models--some--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"x" * 1000)
    (need,) = read_needs(settings, CatalogReader(settings).load(), [], "mine").profiles
    assert (need.model_bytes, need.cached) == (1000, True)


def test_the_real_machine_is_looked_over_without_docker_or_a_driver(settings: Settings) -> None:
    catalog = CatalogReader(settings).load()
    found = examine(settings, catalog, {}, lambda: (), profile="demo")
    assert not [one for one in found if one.evidence.startswith("Unexpected")]
    assert {"driver", "memory", "disk", "limits", "clock", "terminal"} <= {one.check for one in found}
    assert all(one.title and one.evidence for one in found)
    with pytest.raises(NotFound):
        examine(settings, catalog, {}, lambda: (), profile="nobody")


def test_every_check_is_named_once_and_the_tables_agree() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    known = {release.triton for release in releases()}
    assert known <= {release for release, _ in rows()}
