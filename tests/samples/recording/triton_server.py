"""Triton and its options, ports and control modes; and good starts."""

import json
import os
import urllib.error
import urllib.request
from contextlib import suppress

from tests.samples.recording.room import Act, Impossible, Process, Recorded, Room, case, free_port, stop, taken_port
from tests.samples.recording.start_triton import CONFIG, ECHO, READY, add, start


@case("the HTTP port is taken")
def triton_http_port_taken(room: Room) -> Recorded:
    add(room)
    with taken_port() as port:
        return start(room, ports={"http": port})


@case("the gRPC port is taken")
def triton_grpc_port_taken(room: Room) -> Recorded:
    add(room)
    with taken_port() as port:
        return start(room, ports={"grpc": port})


@case("the metrics port is taken")
def triton_metrics_port_taken(room: Room) -> Recorded:
    add(room)
    with taken_port() as port:
        return start(room, ports={"metrics": port})


@case("HTTP and gRPC are given one and the same port")
def triton_ports_equal(room: Room) -> Recorded:
    add(room)
    port = free_port()
    return start(room, ports={"http": port, "grpc": port})


@case("an option that there is not")
def triton_option_unknown(room: Room) -> Recorded:
    add(room)
    return start(room, "--strict-model-configuration=false")


@case("an option's value is none of those that there are")
def triton_option_value(room: Room) -> Recorded:
    add(room)
    return start(room, "--model-control-mode=manual")


@case("an option's value is no number")
def triton_option_number(room: Room) -> Recorded:
    add(room)
    return start(room, "--exit-timeout-secs=soon")


@case("no model repository is given")
def triton_repository_not_given(room: Room) -> Recorded:
    return start(room, repositories=[])


@case("explicit mode, and the model to load is not in the repository")
def triton_explicit_model_unknown(room: Room) -> Recorded:
    add(room)
    return start(room, "--model-control-mode=explicit", "--load-model=llama")


@case("a model to load is named, and the mode is not explicit")
def triton_load_model_without_explicit(room: Room) -> Recorded:
    add(room)
    return start(room, "--load-model=echo")


@case("a load is asked for while Triton polls its repository")
def triton_load_refused_when_polling(room: Room) -> Recorded:
    add(room)
    port = free_port()
    options = ("--model-control-mode=poll", "--repository-poll-secs=60", "--log-verbose=1")
    return start(room, *options, ports={"http": port}, ready=READY, then=asking(port, "echo"))


@case("explicit mode: a load that is asked for fails, and the server goes on")
def triton_load_fails_later(room: Room) -> Recorded:
    add(room)
    add(room, "broken", model="import sentencepiece\n" + ECHO)
    port = free_port()
    options = ("--model-control-mode=explicit", "--load-model=echo")
    return start(room, *options, ports={"http": port}, ready=READY, then=asking(port, "broken"))


def asking(port: int, model: str) -> Act:
    """Asks for a load, and then stops the server."""

    def act(process: Process) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/repository/models/{model}/load", b"{}")
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60)
        stop(process)

    return act


@case("the backends' folder does not exist")
def triton_backend_directory_missing(room: Room) -> Recorded:
    add(room)
    return start(room, "--backend-directory=/opt/tritonserver/backend")


@case("/dev/shm is too small for the Python backend")
def triton_shared_memory_small(room: Room) -> Recorded:
    if os.geteuid():
        raise Impossible("a shared memory of its own needs root")
    add(room, config=CONFIG.replace("KIND_CPU", "KIND_CPU count: 4"))
    small = 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"'
    return start(room, within=("unshare", "--mount", "sh", "-c", small, "sh"))


@case("the Python backend may not have as much memory as it needs")
def triton_address_space_limit(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        self.words = bytearray(4 << 30)\n\n"
    add(room, model=ECHO.replace("    def execute", body + "    def execute"))
    return start(room, within=("prlimit", "--as=3000000000"))


@case("too few files may be open")
def triton_open_files(room: Room) -> Recorded:
    add(room, config=CONFIG.replace("KIND_CPU", "KIND_CPU count: 8"))
    return start(room, within=("prlimit", "--nofile=24:24"))


@case("the SSL certificate of gRPC does not exist")
def triton_certificate_missing(room: Room) -> Recorded:
    add(room)
    return start(room, "--grpc-use-ssl=true", "--grpc-server-cert=/certs/cert.pem", "--grpc-server-key=/certs/key.pem")


@case("the response cache's settings are wrong")
def triton_cache_unknown(room: Room) -> Recorded:
    add(room)
    return start(room, "--cache-config=remote,size=1048576")


@case("the address is not of this machine")
def triton_address_elsewhere(room: Room) -> Recorded:
    add(room)
    return start(room, "--http-address=192.0.2.77")


# Good starts


@case("good: several models")
def triton_good_models(room: Room) -> Recorded:
    for name in ("first", "second", "third"):
        add(room, name)
    return start(room, ready=READY)


@case("good: an empty repository, as a mount of the wrong folder is")
def triton_good_empty_repository(room: Room) -> Recorded:
    return start(room, ready=READY)


@case("good: explicit, one of two models")
def triton_good_explicit(room: Room) -> Recorded:
    add(room)
    add(room, "broken", model="import sentencepiece\n" + ECHO)
    return start(room, "--model-control-mode=explicit", "--load-model=echo", ready=READY)


@case("good: eight instances of a Python model, as its configuration says")
def triton_good_instances(room: Room) -> Recorded:
    add(room, config=CONFIG.replace("KIND_CPU", "KIND_CPU count: 8"))
    return start(room, ready=READY)


@case("good: stopped while it served")
def triton_good_stopped(room: Room) -> Recorded:
    add(room)
    return start(room, ready=READY, then=stop)


@case("good: an ensemble")
def triton_good_ensemble(room: Room) -> Recorded:
    add(room)
    add(room, "chain", CHAIN, None)
    return start(room, ready=READY)


@case("good: it tells of much, at the most verbose level")
def triton_good_verbose(room: Room) -> Recorded:
    add(room)
    return start(room, "--log-verbose=2", ready=READY)


@case("good: the second start after one that failed, in one log")
def triton_good_after_failure(room: Room) -> Recorded:
    folder = add(room, model="import sentencepiece\n" + ECHO)
    start(room)
    (folder / "1/model.py").write_text(ECHO)
    return start(room, ready=READY)


@case("good: a request fails, and the model is well")
def triton_good_request_refused(room: Room) -> Recorded:
    add(room)
    port = free_port()
    wrong = {"inputs": [{"name": "INPUT", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}

    def ask(process: Process) -> None:
        url = f"http://127.0.0.1:{port}/v2/models/echo/infer"
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(wrong).encode()), timeout=60)
        stop(process)

    return start(room, "--log-verbose=1", ports={"http": port}, ready=READY, then=ask)


CHAIN = """platform: "ensemble"
max_batch_size: 8
input [{ name: "TEXT" data_type: TYPE_FP32 dims: [ 4 ] }]
output [{ name: "ANSWER" data_type: TYPE_FP32 dims: [ 4 ] }]
ensemble_scheduling { step [{
  model_name: "echo" model_version: -1
  input_map { key: "INPUT" value: "TEXT" } output_map { key: "OUTPUT" value: "ANSWER" }
}] }
"""
