"""Triton's messages over gRPC: a prompt as one, and what is in those that answer it."""

import struct
from typing import Any

from engine.inference.prompt import PromptRequest
from engine.inference.tensor_outputs import outputs_text
from engine.inference.triton_model import TritonModel

_COUNTS = {"INT32": "<i", "UINT32": "<I", "INT64": "<q", "UINT64": "<Q"}
_LENGTH = struct.Struct("<I")


def infer_request(model: TritonModel, request: PromptRequest) -> bytes:
    """A `ModelInferRequest`. Raises `Unfit`."""
    import numpy as np
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

    asked = service_pb2.ModelInferRequest(model_name=model.name)
    for tensor in model.tensors(request):
        asked.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        array = np.array(tensor.data, dtype=triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)
        if tensor.datatype == "BYTES":
            texts = serialize_byte_tensor(array)
            asked.raw_input_contents.append(texts.item() if texts.size else b"")
        else:
            asked.raw_input_contents.append(array.tobytes())
    return bytes(asked.SerializeToString())


def first_values(response: Any) -> dict[str, Any]:
    """The first value of each output: of those that text models have, read without making an array of each.

    Raises `struct.error` and `ValueError` for what is shorter than it says.
    """
    found: dict[str, Any] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        datatype = output.datatype
        if datatype == "BYTES" and raw:
            length = _LENGTH.unpack_from(raw)[0]
            if len(raw) - _LENGTH.size < length:
                raise ValueError(f"{output.name} ends after {len(raw)} bytes")
            found[output.name] = raw[_LENGTH.size : _LENGTH.size + length]
        elif datatype in _COUNTS and raw:
            found[output.name] = struct.unpack_from(_COUNTS[datatype], raw)[0]
    return found


def tensors_text(response: Any) -> str:
    """All outputs, and a line break. Raises `struct.error` and `ValueError` as above."""
    from tritonclient.grpc import InferResult

    result, outputs = InferResult(response), []
    for output in response.outputs:
        array = result.as_numpy(output.name)
        data = [] if array is None else array.reshape(-1).tolist()
        described = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data}
        outputs.append(described)
    return f"{outputs_text(outputs)}\n"  # several responses stand below each other
