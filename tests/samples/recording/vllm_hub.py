"""vLLM and the Hugging Face hub: no network, no right, no such model, no room."""

import shutil
from collections.abc import Mapping

from tests.samples.recording.hub import HUB, Refusal, hub
from tests.samples.recording.room import Impossible, Recorded, Room, case, free_port, mounted_tmpfs
from tests.samples.recording.start_vllm import EAGER, READY, serve
from tests.samples.recording.versions import vllm_folder

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def asked(room: Room, answer: Refusal, *options: str, env: Mapping[str, str] | None = None) -> Recorded:
    with hub(answer) as address:
        room.places[address] = HUB
        given = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", **(env or {})}
        return serve(room, MODEL, *EAGER, *options, env=given)


@case("the model is gated, and no token was given")
def vllm_hub_gated_without_token(room: Room) -> Recorded:
    message = (
        f"Access to model {MODEL} is restricted. You must have access to it and be authenticated to access it. "
        "Please log in."
    )
    return asked(room, Refusal(401, "GatedRepo", message))


@case("the model is gated, and the token's owner has not been let in")
def vllm_hub_gated_not_granted(room: Room) -> Recorded:
    message = (
        f"Access to model {MODEL} is restricted and you are not in the authorized list. "
        f"Visit {HUB}/{MODEL} to ask for access."
    )
    return asked(room, Refusal(403, "GatedRepo", message), env={"HF_TOKEN": "hf_" + "x" * 34})


@case("the token is not valid")
def vllm_hub_token_invalid(room: Room) -> Recorded:
    return asked(
        room, Refusal(401, "", "Invalid credentials in Authorization header"), env={"HF_TOKEN": "hf_" + "x" * 34}
    )


@case("there is no such model, or it is private")
def vllm_hub_repository_not_found(room: Room) -> Recorded:
    return asked(room, Refusal(401, "RepoNotFound", "Repository not found"))


@case("the model has no such revision")
def vllm_hub_revision_not_found(room: Room) -> Recorded:
    return asked(room, Refusal(404, "RevisionNotFound", "Invalid rev id: v9"), "--revision", "v9")


@case("the hub lets no more requests pass for now")
def vllm_hub_rate_limited(room: Room) -> Recorded:
    limits = {"RateLimit": '"resolvers";r=0;t=2', "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}
    message = (
        "We had to rate limit your IP. To continue using our service, create a HF account or login to your existing "
        "account."
    )
    return asked(room, Refusal(429, "", message, limits))


@case("the hub has an error of its own")
def vllm_hub_internal_error(room: Room) -> Recorded:
    return asked(room, Refusal(500, "", "Internal Error - We're working hard to fix this as soon as possible!"))


@case("the model is disabled on the hub")
def vllm_hub_disabled(room: Room) -> Recorded:
    return asked(room, Refusal(403, "", "Access to this resource is disabled."))


@case("nothing listens where the hub should be")
def vllm_hub_refused(room: Room) -> Recorded:
    address = f"http://127.0.0.1:{free_port()}"
    room.places[address] = HUB
    return serve(room, MODEL, *EAGER, env={"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"})


@case("there is no network: the hub's name is not known")
def vllm_hub_no_network(room: Room) -> Recorded:
    if not shutil.which("unshare"):
        raise Impossible("there is no unshare")
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
    return serve(room, MODEL, *EAGER, env={"HF_HUB_OFFLINE": "0"}, within=alone)


@case("offline, and the model is not in the cache")
def vllm_hub_offline(room: Room) -> Recorded:
    return serve(room, MODEL, *EAGER)


@case("the repository's name has a space in it")
def vllm_hub_name_invalid(room: Room) -> Recorded:
    return serve(room, "meta-llama/Llama 3.1 8B", *EAGER)


@case("the model does not fit on the disk of the cache")
def vllm_hub_disk_full(room: Room) -> Recorded:
    with (
        mounted_tmpfs(room.folder / "cache/full", "4m") as cache,
        hub(vllm_folder() / "model", sizes={"model.safetensors": 64 << 20}) as address,
    ):
        room.places |= {address: HUB, str(cache): "/cache/huggingface"}
        env = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache)}
        return serve(room, MODEL, *EAGER, env=env)


@case("the cache may not be written")
def vllm_hub_cache_read_only(room: Room) -> Recorded:
    with mounted_tmpfs(room.folder / "cache/readonly", "4m") as cache, hub(vllm_folder() / "model") as address:
        room.remount(cache, "ro")
        room.places |= {address: HUB, str(cache): "/cache/huggingface"}
        env = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache)}
        return serve(room, MODEL, *EAGER, env=env)


@case("good: the model is downloaded first")
def vllm_good_download(room: Room) -> Recorded:
    with hub(vllm_folder() / "model") as address:
        room.places[address] = HUB
        env = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
        return serve(room, "acme/tiny", *EAGER, env=env, ready=READY)
