"""vLLM and a model's files: what is missing, broken or unknown."""

import json
import os
import struct
from pathlib import Path

from tests.samples.recording.room import Recorded, Room, case, edit_json
from tests.samples.recording.start_vllm import EAGER, READY, serve, tiny

Q4 = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


@case("max_model_len is longer than the model's own context")
def vllm_max_model_len_derived(room: Room) -> Recorded:
    return serve(room, tiny(room), "--max-model-len", "32768")


@case("config.json names an architecture that this vLLM does not know")
def vllm_architecture_unknown(room: Room) -> Recorded:
    return serve(room, tiny(room, architectures=["Llama9ForCausalLM"]), *EAGER)


@case("config.json names a model type that this Transformers does not know")
def vllm_model_type_unknown(room: Room) -> Recorded:
    return serve(room, tiny(room, model_type="llama9", architectures=["Llama9ForCausalLM"]), *EAGER)


@case("the model's folder has no config.json")
def vllm_no_config_json(room: Room) -> Recorded:
    model = tiny(room)
    (model / "config.json").unlink()
    return serve(room, model, *EAGER)


@case("config.json is not whole: no valid JSON")
def vllm_config_json_cut(room: Room) -> Recorded:
    model = tiny(room)
    file = model / "config.json"
    file.write_text(file.read_text(encoding="utf-8")[:300], encoding="utf-8")
    return serve(room, model, *EAGER)


@case("the model's folder does not exist; the path is taken for a repository's name")
def vllm_folder_missing(room: Room) -> Recorded:
    tiny(room)
    return serve(room, room.folder / "models/tyni", *EAGER)


@case("the model's folder is empty, as a mount of the wrong folder is")
def vllm_folder_empty(room: Room) -> Recorded:
    tiny(room)
    empty = room.folder / "models/empty"
    empty.mkdir()
    return serve(room, empty, *EAGER)


@case("the model's folder has no weights")
def vllm_no_weights(room: Room) -> Recorded:
    model = tiny(room)
    (model / "model.safetensors").unlink()
    return serve(room, model, *EAGER)


@case("the weights are a pointer of Git LFS, not the file itself")
def vllm_weights_lfs_pointer(room: Room) -> Recorded:
    model = tiny(room)
    (model / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1117600\n",
        encoding="utf-8",
    )
    return serve(room, model, *EAGER)


@case("the weights are damaged: the header is no JSON")
def vllm_weights_corrupt(room: Room) -> Recorded:
    model = tiny(room)
    data = bytearray((model / "model.safetensors").read_bytes())
    data[8:64] = os.urandom(56)
    (model / "model.safetensors").write_bytes(data)
    return serve(room, model, *EAGER)


@case("the weights are cut off, as by a broken download")
def vllm_weights_truncated(room: Room) -> Recorded:
    model = tiny(room)
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data[: len(data) * 2 // 3])
    return serve(room, model, *EAGER)


@case("one of two shards of the weights is not there")
def vllm_shard_missing(room: Room) -> Recorded:
    model = tiny(room)
    names = _tensors(model / "model.safetensors")
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {
        name: f"model-0000{1 + (number > len(names) // 2)}-of-00002.safetensors" for number, name in enumerate(names)
    }
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return serve(room, model, *EAGER)


@case("config.json tells of more layers than the weights have")
def vllm_weights_of_another_shape(room: Room) -> Recorded:
    return serve(room, tiny(room, hidden_size=256, head_dim=64), *EAGER)


@case("config.json tells of three layers, and the weights have two")
def vllm_layer_missing(room: Room) -> Recorded:
    return serve(room, tiny(room, num_hidden_layers=3), *EAGER)


@case("there is no tokenizer in the model's folder")
def vllm_no_tokenizer(room: Room) -> Recorded:
    model = tiny(room)
    for file in model.glob("tokenizer*"):
        file.unlink()
    return serve(room, model, *EAGER)


@case("tokenizer.json is not whole")
def vllm_tokenizer_cut(room: Room) -> Recorded:
    model = tiny(room)
    file = model / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8")[:5000], encoding="utf-8")
    return serve(room, model, *EAGER)


@case("tokenizer_config.json names a class that this Transformers does not know")
def vllm_tokenizer_class_unknown(room: Room) -> Recorded:
    model = tiny(room)
    edit_json(model / "tokenizer_config.json", {"tokenizer_class": "Llama9Tokenizer"})
    (model / "tokenizer.json").unlink()
    return serve(room, model, *EAGER)


@case("the model brings code of its own, and trust_remote_code is off")
def vllm_remote_code_refused(room: Room) -> Recorded:
    auto = {"AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    model = tiny(room, model_type="mine", architectures=["MineForCausalLM"], auto_map=auto)
    (model / "configuration_mine.py").write_text(
        "from transformers import PretrainedConfig\n\nclass MineConfig(PretrainedConfig):\n    model_type = 'mine'\n"
    )
    return serve(room, model, *EAGER)


@case("the model's own code needs a package that is not installed")
def vllm_remote_code_needs_package(room: Room) -> Recorded:
    auto = {"AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    model = tiny(room, model_type="mine", architectures=["MineForCausalLM"], auto_map=auto)
    (model / "configuration_mine.py").write_text(
        "import flash_attn\nfrom transformers import PretrainedConfig\n\n"
        "class MineConfig(PretrainedConfig):\n    model_type = 'mine'\n"
    )
    return serve(room, model, *EAGER, "--trust-remote-code")


@case("the quantization asked for is another than the model's")
def vllm_quantization_mismatch(room: Room) -> Recorded:
    return serve(room, tiny(room, quantization_config=Q4), *EAGER, "--quantization", "gptq")


@case("config.json tells of a quantization that this vLLM does not know")
def vllm_quantization_unknown_in_config(room: Room) -> Recorded:
    return serve(room, tiny(room, quantization_config={"quant_method": "q9"}), *EAGER)


@case("AWQ is asked for, and the model is not quantized")
def vllm_quantization_without_config(room: Room) -> Recorded:
    return serve(
        room, tiny(room), "--max-model-len", "1024", "--enforce-eager", "--quantization", "awq", "--dtype", "half"
    )


@case("FP8 weights, which the CPU cannot do")
def vllm_fp8_unsupported(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--quantization", "fp8")


@case("the GGUF file is no such file")
def vllm_gguf_broken(room: Room) -> Recorded:
    model = tiny(room)
    (model / "tiny.gguf").write_bytes(b"GGUF" + bytes(60))
    return serve(room, model / "tiny.gguf", *EAGER, "--tokenizer", str(model))


@case("the heads do not divide by the key-value heads of config.json")
def vllm_heads_indivisible(room: Room) -> Recorded:
    return serve(room, tiny(room, num_attention_heads=6, num_key_value_heads=4), *EAGER)


@case("rope_scaling of config.json is of an unknown kind")
def vllm_rope_unknown(room: Room) -> Recorded:
    return serve(
        room, tiny(room, rope_parameters={"rope_type": "spiral", "rope_theta": 10000.0, "factor": 4.0}), *EAGER
    )


@case("the template of --chat-template does not exist")
def vllm_chat_template_missing(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--chat-template", str(room.folder / "models/chat.jinja"))


@case("good: the template of --chat-template is no valid Jinja, which only requests find out")
def vllm_good_chat_template_broken(room: Room) -> Recorded:
    model = tiny(room)
    (model / "chat.jinja").write_text("{% for message in messages %}{{ message.content }}")
    return serve(room, model, *EAGER, "--chat-template", str(model / "chat.jinja"), ready=READY)


@case("good: generation_config.json is no valid JSON, which vLLM passes over")
def vllm_good_generation_config_broken(room: Room) -> Recorded:
    model = tiny(room)
    (model / "generation_config.json").write_text('{"temperature": 0.7,')
    return serve(room, model, *EAGER, ready=READY)


def _tensors(file: Path) -> list[str]:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return sorted(set(json.loads(opened.read(length))) - {"__metadata__"})
