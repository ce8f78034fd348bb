"""Which options tritonserver knows, and which of them a profile may give."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from engine.stacks.context import PlanContext

_KNOWN = """
    allow_cpu_metrics allow_gpu_metrics allow_grpc allow_http allow_metrics allow_sagemaker allow_vertex_ai
    backend_config backend_directory buffer_manager_thread_count cache_config cache_directory
    cuda_memory_pool_byte_size cuda_virtual_address_size disable_auto_complete_config enable_peer_access exit_on_error
    exit_timeout_secs grpc_address grpc_header_forward_pattern grpc_infer_allocation_pool_size
    grpc_infer_response_compression_level grpc_infer_thread_count grpc_keepalive_permit_without_calls
    grpc_keepalive_time grpc_keepalive_timeout grpc_max_connection_age grpc_max_connection_age_grace
    grpc_max_response_pool_size grpc_port grpc_restricted_protocol grpc_root_cert grpc_server_cert grpc_server_key
    grpc_use_ssl grpc_use_ssl_mutual host_policy http_address http_header_forward_pattern http_max_input_size http_port
    http_restricted_api http_thread_count id load_model log_error log_file log_format log_info log_verbose log_warning
    metrics_address metrics_config metrics_interval_ms metrics_port min_supported_compute_capability model_config_name
    model_control_mode model_load_gpu_limit model_load_retry_count model_load_thread_count model_namespacing
    model_repository model_store pinned_memory_pool_byte_size rate_limit rate_limit_resource repoagent_directory
    repository_poll_secs response_cache_byte_size reuse_grpc_port reuse_http_port sagemaker_port
    sagemaker_safe_port_range sagemaker_thread_count strict_model_config strict_readiness trace_config trace_count
    trace_file trace_level trace_log_frequency trace_rate vertex_ai_default_model vertex_ai_port
    vertex_ai_thread_count
"""
KNOWN = frozenset(_KNOWN.split())
"""`tritonserver --help` of 2.51, and what later releases added; they may have more"""
_WITH_KEYS = ("grpc_restricted_protocol", "http_restricted_api")
CONTROL_MODES = ("none", "poll", "explicit")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def check_options(context: PlanContext, options: Mapping[str, Any]) -> None:
    """`options` by their names with underscores. Raises `InvalidProfile`; warns of those that are nearly known ones."""
    for name in options:
        if name in KNOWN:
            continue
        longer = sorted(known for known in KNOWN if known.startswith(name))
        if longer or not _NAME.fullmatch(name):
            # The server takes abbreviations, which would pass by every check of the whole name.
            what = "is no name of an option" if not longer else "abbreviates an option of tritonserver"
            raise context.invalid(f"`{name}` {what}.", f"Write {' or '.join(longer[:3]) or 'its whole name'}.")
        if near := difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8):
            context.warnings.append(f"`{name}` is not known to be an option of tritonserver: did you mean `{near[0]}`?")
    for name in _WITH_KEYS:
        if name in options:
            raise context.invalid(
                f"`{name}` is no option to give: its key would stand on the command line for all to read.",
                "Take it out, and put a proxy in front.",
            )
    mode = options.get("model_control_mode", "none")
    if mode not in CONTROL_MODES:
        raise context.invalid(f"`model_control_mode` is {mode}.", f"It is one of {', '.join(CONTROL_MODES)}.")
