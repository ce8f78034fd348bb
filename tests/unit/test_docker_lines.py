"""`docker run` lines as they are met, and what becomes of them as profiles."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.docker_line import from_line, published
from engine.authoring.imported import Imported, imported
from engine.authoring.write import checked, profile_text
from engine.errors import InvalidProfile

HOME = {"HOME": "/home/me"}
TOKEN = "hf_" + "a1B2" * 6
HERE = Path("/home/me/llm")


def take(line: str, folder: Path = HERE, environ: dict[str, str] = HOME) -> Imported:
    return imported(from_line(line, environ, folder), environ, folder)


DOCS = r"""docker run --runtime nvidia --gpus all \
    -v ~/.cache/huggingface:/home/vllm/.cache/huggingface \
    --env "HUGGING_FACE_HUB_TOKEN=<secret>" \
    -p 8000:8000 \
    --ipc=host \
    vllm/vllm-openai:latest \
    --model mistralai/Mistral-7B-v0.1"""
NGC = (
    "docker run --gpus=1 --rm --net=host -v ${PWD}/model_repository:/models nvcr.io/nvidia/tritonserver:24.05-py3"
    " tritonserver --model-repository=/models"
)
VLLM = "vllm/vllm-openai:v0.11.0"
TRITON = "nvcr.io/nvidia/tritonserver:25.12-py3"

LINES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "vLLM's documentation": (
        DOCS,
        {
            "stack": "vllm",
            "image": "vllm/vllm-openai:latest",
            "model": "mistralai/Mistral-7B-v0.1",
            "name": "mistral-7b-v0.1",
            "gpus": "all",
            "ipc": "host",
            "expose": {"http": 8000},
            "secrets": {"HUGGING_FACE_HUB_TOKEN": "env"},
        },
        ("value of HUGGING_FACE_HUB_TOKEN is not kept", "bound to 127.0.0.1: `bind` opens"),
    ),
    "placeholders of a page": (
        "sudo -u root docker run --gpus=1 -e HF_TOKEN=<your token> -p 8000:8000 -v /full/path/<repo>:/models"
        " nvcr.io/nvidia/tritonserver:<xx.yy>-py3 tritonserver --model-repository=/models",
        {"repository": "/full/path/<repo>", "secrets": {"HF_TOKEN": "env"}, "gpus": 1},
        ("<xx.yy> stands for something", "<repo> stands for something"),
    ),
    "NVIDIA's documentation": (
        NGC,
        {
            "stack": "triton",
            "repository": "/home/me/llm/model_repository",
            "gpus": 1,
            "expose": {"http": 8000, "grpc": 8001, "metrics": 8002},
        },
        ("--rm", "--network host"),
    ),
    "several GPUs by index": (
        f"""docker run -d --gpus '"device=0,2"' --shm-size 16G -p 127.0.0.1:8080:8000 {VLLM} --model=a/b -tp 2""",
        {"gpus": [0, 2], "shm_size": "16g", "expose": {"http": 8080}, "engine": {"tensor_parallel_size": 2}},
        (),
    ),
    "GPUs without Docker's quotes": (f"docker run --gpus device=0,1 {VLLM} --model a/b", {"gpus": [0, 1]}, ()),
    "GPUs by UUID and capabilities": (
        f"""docker run --gpus '"device=GPU-0b1c",capabilities=utility' {VLLM} --model a/b""",
        {"gpus": ["GPU-0b1c"]},
        (),
    ),
    "a number of GPUs": (f"docker run --gpus 4 {VLLM} --model a/b", {"gpus": 4}, ()),
    "the NVIDIA runtime and a variable": (
        f"docker run --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=1,3 -p 8000:8000 {VLLM} --model a/b",
        {"gpus": [1, 3]},
        (),
    ),
    "all GPUs, of which CUDA sees some": (
        f"docker run --gpus all -e CUDA_VISIBLE_DEVICES=2,3 {VLLM} --model a/b",
        {"gpus": [2, 3]},
        ("CUDA_VISIBLE_DEVICES is left out",),
    ),
    "nvidia-docker": (f"nvidia-docker run -itd -p 80:8000 {VLLM} --model a/b", {"gpus": "all"}, ("-i, -t",)),
    "podman with CDI": (
        f"podman run --device nvidia.com/gpu=all --security-opt=label=disable {VLLM} --model a/b",
        {"gpus": "all"},
        ("--security-opt",),
    ),
    "sudo, container run, and flags together": (
        f"sudo -E docker container run -itp 9000:8000 --name my_Model.1 --restart unless-stopped {VLLM} --model a/b",
        {"name": "my-model.1", "expose": {"http": 9000}},
        ("--restart unless-stopped",),
    ),
    "a blog's typesetting": (
        "$ docker run —gpus all \\ \n> -p\u00a08000:8000 \\\n> “vllm/vllm-openai:v0.11.0” –model a/b   # serve it",
        {"model": "a/b", "expose": {"http": 8000}},
        (),
    ),
    "Windows' line ends": (
        "docker run --gpus all \\\r\n  -p 8000:8000 \\\r\n  " + VLLM + " --model a/b\r\n",
        {"model": "a/b"},
        (),
    ),
    "variables set before": (
        "export MODEL=a/b\nPORT=9001; docker run --gpus all -p $PORT:8000 " + VLLM + " --model ${MODEL} | tee log 2>&1",
        {"model": "a/b", "expose": {"http": 9001}},
        (),
    ),
    "variables that nobody knows": (
        f"docker run -p 8000:8000 {VLLM} --model $MODEL --max-model-len ${{LEN:-4096}}",
        {"model": "${MODEL}", "engine": {"max_model_len": 4096}},
        ("${MODEL} is not known",),
    ),
    "options of all kinds": (
        f"docker run --gpus 1 {VLLM} serve a/b --trust-remote-code --no-enable-prefix-caching --kv-cache-dtype=fp8"
        """ --hf-overrides '{"rope_theta": 1e6}' --seed -1 -q awq --served-model-name one two --max_num_seqs 32""",
        {
            "model": "a/b",
            "engine": {
                "trust_remote_code": True,
                "enable_prefix_caching": False,
                "kv_cache_dtype": "fp8",
                "hf_overrides": {"rope_theta": 1e6},
                "seed": -1,
                "quantization": "awq",
                "served_model_name": ["one", "two"],
                "max_num_seqs": 32,
            },
        },
        (),
    ),
    "an older image's module": (
        "docker run --gpus 1 --entrypoint python3 vllm/vllm-openai:v0.8.5 -m vllm.entrypoints.openai.api_server"
        " --host 0.0.0.0 --port 8080 --model a/b --revision 0123456",
        {"model": "a/b", "engine": {"revision": "0123456"}, "expose": {"http": "auto"}},
        ("No port is published for http",),
    ),
    "a shell that does other things first": (
        f"docker run --gpus 1 -p 8000:8000 --entrypoint bash {VLLM}"
        """ -c "pip install tokenizer==2 && exec vllm serve a/b --port 8000" """,
        {"model": "a/b"},
        ("`pip install …` is left out",),
    ),
    "a model in a mounted folder": (
        f"docker run --gpus 1 -v /data/models:/models:ro -p 8000:8000 {VLLM}"
        " --model /models/llama --chat-template /models/t.jinja",
        {
            "model": "/data/models/llama",
            "mounts": ["/data/models:/models"],
            "engine": {"chat_template": "/models/t.jinja"},
        },
        ("by the profile's name",),
    ),
    "a model that is the mounted folder": (
        f"docker run --gpus 1 --mount type=bind,source=./llama,target=/model {VLLM}"
        " --model /model --served-model-name x",
        {"model": "/home/me/llm/llama", "served_model_name": "x", "mounts": None},
        (),
    ),
    "a snapshot in the cache": (
        f"docker run -v ~/.cache/huggingface:/c/.cache/huggingface {VLLM} --model"
        " /c/.cache/huggingface/hub/models--org--big/snapshots/abc123",
        {"model": "org/big", "engine": {"revision": "abc123"}, "mounts": None},
        (),
    ),
    "adapters": (
        f"docker run -v /data/lora:/lora {VLLM} --model a/b --enable-lora"
        " --lora-modules sql=/lora/sql chat=org/chat --max-loras 2",
        {"lora": {"sql": "/data/lora/sql", "chat": "org/chat"}, "engine": {"max_loras": 2}, "mounts": None},
        (),
    ),
    "a key by value": (
        f"docker run {VLLM} --model a/b --api-key topsecret123 -e PASSWORD=topsecret",
        {"secrets": {"VLLM_API_KEY": "env"}, "engine": None},
        ("VLLM_API_KEY is not kept", "`-e` is left out"),
    ),
    "secrets of every kind": (
        f"HF_TOKEN=$(cat ~/hf) docker run -e HF_TOKEN -e VLLM_API_KEY=$MY_KEY -e WANDB_API_KEY={TOKEN} -e LEVEL=info"
        f" -e HF_HUB_DISABLE_IMPLICIT_TOKEN=1 -e PLAIN {VLLM} --model a/b",
        {
            "secrets": {
                "HF_TOKEN": "file:/home/me/hf",
                "VLLM_API_KEY": "env:MY_KEY",
                "WANDB_API_KEY": "env",
                "PLAIN": "env",
            },
            "env": {"LEVEL": "info", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"},
        },
        ("WANDB_API_KEY is not kept",),
    ),
    "an address of its own": (
        f"docker run -p 10.0.0.5:8000:8000 {VLLM} --model a/b",
        {"bind": "10.0.0.5", "expose": {"http": 8000}},
        (),
    ),
    "what takes power over the machine": (
        f"docker run --privileged --cap-add=SYS_ADMIN -u 0 -v /var/run/docker.sock:/var/run/docker.sock {VLLM}"
        " --model a/b",
        {"mounts": None},
        ("--privileged", "--cap-add SYS_ADMIN", "--user 0", "docker.sock"),
    ),
    "tritonserver with its options": (
        f"docker run --gpus all --rm -it --shm-size=1g --ulimit memlock=-1 --ulimit stack=67108864 --ulimit nofile=1024"
        f" -p8000:8000 -p 8001:8001 -v $(pwd)/repo:/models {TRITON} tritonserver --model-store /models"
        " --model-control-mode explicit --load-model a --load-model=b --log-verbose=1 --strict-readiness false"
        " --allow-metrics=false --http-port 8000",
        {
            "repository": "/home/me/llm/repo",
            "engine": {
                "model_control_mode": "explicit",
                "load_model": ["a", "b"],
                "log_verbose": 1,
                "strict_readiness": False,
            },
            "expose": {"http": 8000, "grpc": 8001},
            "mounts": None,
        },
        ("--ulimit nofile=1024",),
    ),
    "ports moved inside": (
        f"docker run -p 18000-18002:9000-9002 -v /m:/models {TRITON} tritonserver --model-repository=/models/sub"
        " --http-port=9000 --grpc-port=9001 --metrics-port=9002",
        {"repository": "/m/sub", "expose": {"http": 18000, "grpc": 18001, "metrics": 18002}},
        (),
    ),
    "a line of tritontui's own": (
        f"docker create --name tritontui-x {TRITON} tritonserver --model-repository=/tritontui/models"
        " && echo H4s | gunzip",
        {"name": "x", "repository": None},
        ("copy that profile instead",),
    ),
    "a repository that is not here": (
        f"docker run -p 8000:8000 {TRITON} tritonserver --model-repository=s3://bucket/models",
        {"repository": None},
        ("s3://bucket/models is no folder of this machine",),
    ),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_becomes_a_profile_and_says_what_it_leaves_out(kind: str, tmp_path: Path) -> None:
    line, expected, told = LINES[kind]
    found = take(line)
    for key, value in expected.items():
        assert found.data.get(key) == value, (key, found)
    for words in told:
        assert any(words in note for note in found.notes), (words, found.notes)
    text = profile_text(found.data, head=found.notes)
    assert checked(text, tmp_path / "p.yaml").profile.name == found.data["name"]
    for secret in (TOKEN, "<secret>", "topsecret", "your token"):
        assert secret not in text
        assert not any(secret in note for note in found.notes)


ENVIRON = {
    "HOME": "/home/me",
    "GITHUB_TOKEN": "hush-1",
    "DB_PASSWORD": "hush-2",
    "MY_KEY": "hush-3",
    "URL": "postgres://me:hush-4@host/db",
    "DATA": "/data",
}


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("-e DSN=postgres://u:${DB_PASSWORD}@h -e A=x$GITHUB_TOKEN -e B=$URL -e C=-$URL -e D=$MY_KEY", ""),
        ("-e SSH_KEY=hush-5 -e PROXY=http://me:hush-6@proxy -e OPENAI=sk-proj-hush-7hush-7hush-7", ""),
        ("-v /d/$GITHUB_TOKEN:/y --name x-$MY_KEY --label a=$MY_KEY --env-file $MY_KEY", ""),
        ("", "--chat-template $GITHUB_TOKEN --served-model-name ${DB_PASSWORD}-x --tokenizer=$URL --zzz=$MY_KEY"),
        ("", """--hf-overrides '{"api_key": "hush-8"}' --otlp-traces-endpoint http://me:hush-9@host"""),
    ],
)
def test_no_secret_of_the_line_or_of_the_shell_is_written(options: str, arguments: str) -> None:
    set_before = "SECRETVAR=hush-0; PRE=a$SECRETVAR; "
    line = f"{set_before} docker run -e F=$PRE {options} {VLLM} --model a/b --seed $PRE {arguments}"
    found = take(line, environ=ENVIRON)
    assert "hush" not in profile_text(found.data, head=found.notes)


def test_a_variable_with_a_secret_in_it_comes_over_as_a_reference() -> None:
    found = take(
        f"docker run -e DSN=pg://$DB_PASSWORD -e E=$(vault read x) -e K=$MY_KEY -v $DATA:/d {VLLM} --model a/b",
        environ=ENVIRON,
    )
    assert found.data["secrets"] == {"DSN": "env", "E": "env", "K": "env:MY_KEY"}
    assert found.data["mounts"] == ["/data:/d:rw"]
    assert any("value of DSN is not kept" in note for note in found.notes)


def test_tritonservers_restricted_apis_are_left_out() -> None:
    found = take(
        f"docker run -v /m:/models {TRITON} tritonserver --model-repository=/models"
        " --http-restricted-api=inference:key=hush --grpc-restricted-protocol=inference:key=hush"
        " --trace-config=opentelemetry,url=http://me:hush@host"
    )
    assert "hush" not in profile_text(found.data, head=found.notes)
    assert sum("secret" in note for note in found.notes) == 3


def test_commands_within_the_line_are_not_carried_out(tmp_path: Path) -> None:
    made = tmp_path / "made"
    found = take(f"docker run {VLLM} --model $(touch {made}; echo $(date)) --seed `touch {made}`", tmp_path)
    assert found.data["model"] == f"$(touch {made}; echo $(date))"
    assert sum("not carried out" in note for note in found.notes) == 2
    assert not made.exists()


def test_relative_folders_begin_at_the_working_folder(tmp_path: Path) -> None:
    """As in the page of Triton's vLLM backend."""
    line = f"docker run -v ${{PWD}}:/work -w /work {TRITON} tritonserver --model-repository ./model_repository"
    found = take(line, tmp_path)
    assert found.data["repository"] == str(tmp_path / "model_repository")
    assert "mounts" not in found.data
    out = take(f"docker run -v /m:/models {TRITON} tritonserver --model-repository /models/../etc")
    assert "repository" not in out.data


@pytest.mark.parametrize(
    "text",
    [
        "${a:-" * 39_000,
        "$(" * 90_000,
        "A0=xx; " + "".join(f"A{i + 1}=$A{i}$A{i}; " for i in range(40)) + f"docker run {VLLM} --model $A40",
        f"docker run --shm-size {'9' * 400} {VLLM} --model a/b",
        f'docker run --mount "type=bind,\nsource=/x" --gpus "device=0\n1" {VLLM} --model a/b',
        f"docker run --env-file /dev/zero {VLLM} --model a/b",
        f"docker run {VLLM} --model {'$(cat ' * 5000}x{')' * 5000}",
    ],
    ids=["defaults", "substitutions", "doubling", "size", "line breaks", "device", "nested"],
)
def test_what_is_meant_to_hurt_does_not(text: str) -> None:
    with suppress(InvalidProfile):
        assert take(text).data["model"]


def test_a_file_that_is_no_list_of_variables_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("root:hush:1\n=hush\n")
    found = take(f"docker run --env-file f {VLLM} --model a/b", tmp_path)
    assert "hush" not in profile_text(found.data, head=found.notes)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no `docker run` line"),
        ("services:\n  vllm:\n    image: vllm/vllm-openai", "with --container NAME"),
        ("docker compose up", "no `docker run` line"),
        ("docker run -p 8000:8000", "names no image"),
        ("docker run --gpus", "without its value"),
        ("docker run --gpu all vllm/vllm-openai", "mean --gpus"),
        ("docker run -Z x image", "no option -Z"),
        ("docker run 'image", "cut off"),
        ("docker run ubuntu:24.04 bash", "neither vLLM's server nor tritonserver"),
        (f"docker run -it {TRITON}", "without a command"),
        (f"docker run {TRITON} python3 /opt/tritonserver/python/openai/openai_frontend/main.py", "OpenAI frontend"),
        ("docker run --entrypoint bash vllm/vllm-openai -c 'sleep 1000'", "neither|starts"),
    ],
)
def test_a_line_that_cannot_be_taken_over_says_why(line: str, words: str) -> None:
    with pytest.raises(InvalidProfile, match=words):
        take(line)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=120)
    | st.lists(st.sampled_from([*"'\"\\$`{}()~=,:;&|<># \n-", "docker run ", "-e", "x"])).map("".join)
)
def test_no_text_raises_anything_else(text: str) -> None:
    for line in (text, f"docker run {text} vllm/vllm-openai --model a/b", f"docker run vllm/vllm-openai {text}"):
        try:
            found = take(line)
        except InvalidProfile:
            continue
        assert not any("\ue000" in str(value) for value in found.data.values())
        assert profile_text(found.data, head=found.notes)


def test_variables_of_a_file_are_carried_and_its_secrets_are_not(tmp_path: Path) -> None:
    (tmp_path / "vars").write_text(f"# mine\nLEVEL=info\nHF_TOKEN={TOKEN}\n")
    found = take(f"docker run --env-file vars --env-file nowhere {VLLM} --model a/b", tmp_path)
    assert found.data["env"] == {"LEVEL": "info"}
    assert found.data["secrets"] == {"HF_TOKEN": "env"}
    assert any("nowhere cannot be read" in note for note in found.notes)


def test_a_repository_of_a_vllm_model_stays_a_repository(tmp_path: Path) -> None:
    model = tmp_path / "repo" / "m"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('backend: "vllm"\ninstance_group [{count: 1 kind: KIND_MODEL}]\n')
    found = take(f"docker run -v ./repo:/models {TRITON} tritonserver --model-repository /models", tmp_path)
    assert (found.data["stack"], found.data["model"]) == ("triton", "m")
    assert any("triton-vllm" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000:8000", [(8000, 8000, "")]),
        ("8000", [(8000, None, "")]),
        ("127.0.0.1::8000/tcp", [(8000, None, "127.0.0.1")]),
        ("[::1]:80:8000", [(8000, 80, "::1")]),
        ("5000-5001:8000-8001", [(8000, 5000, ""), (8001, 5001, "")]),
        ("53:53/udp", None),
        ("http:8000", None),
        ("70000:8000", None),
    ],
)
def test_published_ports(text: str, expected: list[tuple[int, int | None, str]] | None) -> None:
    found = published(text)
    told = None if found is None else [(one.container_port, one.host_port, one.host_ip) for one in found]
    assert told == expected
