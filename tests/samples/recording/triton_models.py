"""Triton and its model repository: what is missing, misspelt or contradicts itself."""

import os

from tests.samples.recording.room import Impossible, Recorded, Room, case
from tests.samples.recording.start_triton import CONFIG, ECHO, READY, add, repository, start

ENSEMBLE = """platform: "ensemble"
max_batch_size: 8
input [{{ name: "TEXT" data_type: TYPE_FP32 dims: [ 4 ] }}]
output [{{ name: "ANSWER" data_type: TYPE_FP32 dims: [ 4 ] }}]
ensemble_scheduling {{
  step [
    {{
      model_name: "{first}" model_version: -1
      input_map {{ key: "{input}" value: "TEXT" }} output_map {{ key: "OUTPUT" value: "MIDDLE" }}
    }},
    {{
      model_name: "echo" model_version: -1
      input_map {{ key: "INPUT" value: "MIDDLE" }} output_map {{ key: "OUTPUT" value: "ANSWER" }}
    }}
  ]
}}
"""


def with_config(room: Room, before: str, after: str, name: str = "echo") -> Recorded:
    assert before in CONFIG, before
    add(room, name, CONFIG.replace(before, after))
    return start(room)


def with_model(room: Room, model: str | None) -> Recorded:
    add(room, model=model)
    return start(room)


def ensemble(room: Room, first: str = "echo", input: str = "INPUT") -> Recorded:
    add(room)
    add(room, "chain", ENSEMBLE.format(first=first, input=input), None)
    return start(room)


@case("the model repository does not exist")
def triton_repository_missing(room: Room) -> Recorded:
    return start(room, repositories=[str(room.folder / "models")])


@case("config.pbtxt has a field that there is not")
def triton_config_field_unknown(room: Room) -> Recorded:
    return with_config(room, "max_batch_size: 8", "max_batchsize: 8")


@case("config.pbtxt has a data type that there is not")
def triton_config_data_type_unknown(room: Room) -> Recorded:
    return with_config(room, '"OUTPUT" data_type: TYPE_FP32', '"OUTPUT" data_type: TYPE_FLOAT')


@case("config.pbtxt is not closed")
def triton_config_not_closed(room: Room) -> Recorded:
    return with_config(room, "instance_group [{ kind: KIND_CPU }]", "instance_group [{ kind: KIND_CPU ")


@case("a placeholder of a template was never filled in")
def triton_config_unfilled(room: Room) -> Recorded:
    return with_config(room, "max_batch_size: 8", "max_batch_size: ${triton_max_batch_size}")


@case("a tensor has no dimensions")
def triton_config_no_dims(room: Room) -> Recorded:
    return with_config(room, 'name: "INPUT" data_type: TYPE_FP32 dims: [ 4 ]', 'name: "INPUT" data_type: TYPE_FP32')


@case("a tensor has no data type")
def triton_config_no_data_type(room: Room) -> Recorded:
    return with_config(room, 'name: "INPUT" data_type: TYPE_FP32 dims', 'name: "INPUT" dims')


@case("good: config.pbtxt names neither backend nor platform, which the file's name tells")
def triton_good_without_backend(room: Room) -> Recorded:
    add(room, config=CONFIG.replace('backend: "python"', ""))
    return start(room, ready=READY)


@case("the model's name in config.pbtxt is another than its folder's")
def triton_model_name_mismatch(room: Room) -> Recorded:
    return with_config(room, 'backend: "python"', 'name: "ecko"\nbackend: "python"')


@case("max_batch_size is negative")
def triton_config_batch_negative(room: Room) -> Recorded:
    return with_config(room, "max_batch_size: 8", "max_batch_size: -1")


@case("dynamic batching prefers more than max_batch_size")
def triton_config_preferred_batch(room: Room) -> Recorded:
    preferred = "dynamic_batching { preferred_batch_size: [ 16 ] }"
    return with_config(room, "max_batch_size: 8", f"max_batch_size: 8\n{preferred}")


@case("dynamic batching, and the model takes no batches")
def triton_config_batching_without_batch(room: Room) -> Recorded:
    return with_config(room, "max_batch_size: 8", "max_batch_size: 0\ndynamic_batching { preferred_batch_size: [ 4 ] }")


@case("KIND_GPU, and there is no GPU")
def triton_kind_gpu_without_gpu(room: Room) -> Recorded:
    return with_config(room, "KIND_CPU", "KIND_GPU count: 2")


@case("a GPU that there is not")
def triton_gpu_unknown(room: Room) -> Recorded:
    return with_config(room, "KIND_CPU", "KIND_GPU gpus: [ 7 ]")


@case("the backend is not in this image: vllm")
def triton_no_backend_vllm(room: Room) -> Recorded:
    folder = add(room, "llama", 'backend: "vllm"\ninstance_group [{ count: 1 kind: KIND_MODEL }]\n', None)
    (folder / "1/model.json").write_text('{"model": "/models/llama-3.1-8b", "gpu_memory_utilization": 0.9}')
    return start(room)


@case("the backend is not in this image: tensorrtllm")
def triton_no_backend_tensorrtllm(room: Room) -> Recorded:
    return with_config(room, 'backend: "python"', 'backend: "tensorrtllm"', "tensorrt_llm")


@case("the backend is not in this image: onnxruntime, from a model file alone")
def triton_no_backend_onnxruntime(room: Room) -> Recorded:
    folder = repository(room) / "resnet/1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    return start(room)


@case("platform is one that there is not")
def triton_platform_unknown(room: Room) -> Recorded:
    return with_config(room, 'backend: "python"', 'platform: "vllm"')


@case("there is no folder for a version")
def triton_version_folder_missing(room: Room) -> Recorded:
    folder = add(room)
    (folder / "1/model.py").unlink()
    (folder / "1").rmdir()
    return start(room)


@case("the folder of the version has a name that is no number")
def triton_version_folder_name(room: Room) -> Recorded:
    folder = add(room)
    (folder / "1").rename(folder / "v1")
    return start(room)


@case("version_policy asks for a version that there is not")
def triton_version_policy(room: Room) -> Recorded:
    return with_config(room, "max_batch_size: 8", "max_batch_size: 8\nversion_policy { specific { versions: [ 3 ] } }")


@case("the repository is one model's own folder")
def triton_repository_is_a_model(room: Room) -> Recorded:
    folder = add(room)
    room.places[str(folder)] = "/models/echo"
    return start(room, repositories=[str(folder)])


@case("model.py is missing")
def triton_model_py_missing(room: Room) -> Recorded:
    return with_model(room, None)


@case("model.py has a syntax error")
def triton_model_py_syntax(room: Room) -> Recorded:
    return with_model(room, ECHO.replace("in requests:", "in requests"))


@case("model.py imports a module that is not installed")
def triton_model_py_import(room: Room) -> Recorded:
    return with_model(room, "import vllm\n" + ECHO)


@case("model.py raises when it is initialised")
def triton_model_py_raises(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        raise RuntimeError('the vocabulary has 0 words')\n\n"
    return with_model(room, ECHO.replace("    def execute", body + "    def execute"))


@case("model.py opens a file that is not there")
def triton_model_py_file_missing(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        self.words = open('/models/echo/1/words.txt').read()\n\n"
    return with_model(room, ECHO.replace("    def execute", body + "    def execute"))


@case("model.py has no class TritonPythonModel")
def triton_model_py_no_class(room: Room) -> Recorded:
    return with_model(room, ECHO.replace("TritonPythonModel", "Model"))


@case("the stub is killed while it initialises the model, as when memory is short")
def triton_stub_killed(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        import os\n        os.kill(os.getpid(), 9)\n\n"
    return with_model(room, ECHO.replace("    def execute", body + "    def execute"))


@case("the stub crashes while it initialises the model")
def triton_stub_crashed(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        import ctypes\n        ctypes.string_at(0)\n\n"
    return with_model(room, ECHO.replace("    def execute", body + "    def execute"))


@case("model.py reads a file as ASCII that is not")
def triton_model_py_encoding(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        self.words = open('/proc/self/cwd/words.txt').read()\n\n"
    (room.folder / "words.txt").write_text("naïve\n", encoding="utf-8")
    return with_model(room, ECHO.replace("    def execute", body + "    def execute"))


@case("the packed Python environment of the model does not exist")
def triton_execution_env_missing(room: Room) -> Recorded:
    wanted = 'parameters: { key: "EXECUTION_ENV_PATH" value: { string_value: "/models/envs/llm.tar.gz" } }'
    return with_config(room, 'backend: "python"', f'backend: "python"\n{wanted}')


@case("a member of the ensemble is not in the repository")
def triton_ensemble_member_missing(room: Room) -> Recorded:
    return ensemble(room, first="tokenize")


@case("the ensemble names a tensor that its member has not")
def triton_ensemble_tensor_unknown(room: Room) -> Recorded:
    return ensemble(room, input="TOKENS")


@case("a member of the ensemble does not load")
def triton_ensemble_member_fails(room: Room) -> Recorded:
    add(room, "tokenize", model="import sentencepiece\n" + ECHO)
    return ensemble(room, first="tokenize")


@case("one model is in two repositories")
def triton_model_twice(room: Room) -> Recorded:
    add(room)
    other = room.folder / "other/echo/1"
    other.mkdir(parents=True)
    (other.parent / "config.pbtxt").write_text(CONFIG)
    (other / "model.py").write_text(ECHO)
    room.places[str(room.folder / "other")] = "/models-b"
    return start(room, repositories=[str(repository(room)), str(room.folder / "other")])


@case("one of three models fails")
def triton_one_of_three_fails(room: Room) -> Recorded:
    add(room, "first")
    add(room, "second", model="import sentencepiece\n" + ECHO)
    add(room, "third")
    return start(room)


@case("one of three models fails, and the server serves the others")
def triton_one_of_three_fails_and_serves(room: Room) -> Recorded:
    add(room, "first")
    add(room, "second", model="import sentencepiece\n" + ECHO)
    add(room, "third")
    return start(room, "--exit-on-error=false", ready=READY)


@case("there is no config.pbtxt, and completing it is off")
def triton_config_missing(room: Room) -> Recorded:
    (add(room) / "config.pbtxt").unlink()
    return start(room, "--disable-auto-complete-config")


@case("config.pbtxt may not be read")
def triton_config_unreadable(room: Room) -> Recorded:
    if os.geteuid():
        raise Impossible("another user needs root")
    (add(room) / "config.pbtxt").chmod(0o000)
    return start(room, within=_nobody(room))


@case("model.py may not be read")
def triton_model_py_unreadable(room: Room) -> Recorded:
    if os.geteuid():
        raise Impossible("another user needs root")
    (add(room) / "1/model.py").chmod(0o000)
    return start(room, within=_nobody(room))


@case("the repository's folder may not be read")
def triton_repository_unreadable(room: Room) -> Recorded:
    if os.geteuid():
        raise Impossible("another user needs root")
    add(room).parent.chmod(0o000)
    return start(room, within=_nobody(room))


def _nobody(room: Room) -> tuple[str, ...]:
    """Root without its rights over files of others, for files that are another's."""
    for file in (room.folder / "models").rglob("*"):
        os.chown(file, 65534, 65534)
    os.chown(room.folder / "models", 65534, 65534)
    lost = "-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}", "--no-new-privs")
