"""Stands in for the model that runs the pipeline by itself. It ends with flags alone, as the real one does."""

import numpy as np
import triton_python_backend_utils as pb_utils


def run(model, outputs, **tensors):
    inputs = [pb_utils.Tensor(name, value) for name, value in tensors.items()]
    request = pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=inputs)
    for response in request.exec(decoupled=True):
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        tensors = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        if tensors:
            yield tensors


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            (before,) = run(
                "preprocessing",
                ["INPUT_ID", "REQUEST_INPUT_LEN", "REQUEST_OUTPUT_LEN"],
                QUERY=given["text_input"],
                REQUEST_OUTPUT_LEN=given["max_tokens"],
            )
            steps = run(
                "tensorrt_llm",
                ["output_ids", "sequence_length"],
                input_ids=before["INPUT_ID"],
                input_lengths=before["REQUEST_INPUT_LEN"],
                request_output_len=before["REQUEST_OUTPUT_LEN"],
                streaming=given.get("stream", np.array([[False]])),
            )
            for step in steps:
                (after,) = run(
                    "postprocessing",
                    ["OUTPUT"],
                    TOKENS_BATCH=step["output_ids"],
                    SEQUENCE_LENGTH=step["sequence_length"],
                )
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("text_output", after["OUTPUT"])]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
