"""The options of `docker run`: which take a value, what the short ones stand for, and why most are left out.

From `docker run --help` of Docker 28.2, with what `podman run` adds that is met in lines for GPUs.
"""

SHORT = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "p": "publish",
    "P": "publish-all",
    "q": "quiet",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}
SWITCHES = frozenset(
    {
        *("detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck", "oom-kill-disable"),
        *("privileged", "publish-all", "quiet", "read-only", "rm", "sig-proxy", "tty", "use-api-socket"),
        *("replace", "env-host", "no-hosts", "rmi", "tls-verify"),  # podman
    }
)
WITH_VALUE = frozenset(
    {
        *("add-host", "annotation", "attach", "blkio-weight", "blkio-weight-device", "cap-add", "cap-drop"),
        *("cgroup-parent", "cgroupns", "cidfile", "cpu-count", "cpu-percent", "cpu-period", "cpu-quota"),
        *("cpu-rt-period", "cpu-rt-runtime", "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems", "detach-keys"),
        *("device", "device-cgroup-rule", "device-read-bps", "device-read-iops", "device-write-bps"),
        *("device-write-iops", "dns", "dns-opt", "dns-option", "dns-search", "domainname", "entrypoint", "env"),
        *("env-file", "expose", "gpus", "group-add", "health-cmd", "health-interval", "health-retries"),
        *("health-start-interval", "health-start-period", "health-timeout", "hostname", "io-maxbandwidth"),
        *("io-maxiops", "ip", "ip6", "ipc", "isolation", "kernel-memory", "label", "label-file", "link"),
        *("link-local-ip", "log-driver", "log-opt", "mac-address", "memory", "memory-reservation", "memory-swap"),
        *("memory-swappiness", "mount", "name", "net", "net-alias", "network", "network-alias", "oom-score-adj"),
        *("pid", "pids-limit", "platform", "publish", "pull", "restart", "runtime", "security-opt", "shm-size"),
        *("stop-signal", "stop-timeout", "storage-opt", "sysctl", "tmpfs", "ulimit", "user", "userns", "uts"),
        *("volume", "volume-driver", "volumes-from", "workdir"),
        *("arch", "authfile", "conmon-pidfile", "hooks-dir", "pod", "pod-id-file", "secret", "systemd", "tz"),  # podman
    }
)
GLOBAL_WITH_VALUE = frozenset(
    {"--config", "-c", "--context", "-H", "--host", "-l", "--log-level", "--tlscacert", "--tlscert", "--tlskey"}
)
"""Of `docker` itself, before `run`"""

OWN = frozenset({"detach", "interactive", "tty", "init", "rm", "pull", "quiet", "sig-proxy", "attach", "stop-timeout"})
"""How tritontui runs every container is its own affair"""

REASONS = {
    "privileged": "a server for models needs no power over the machine; GPUs are given to it without",
    "cap-add": "it is given no more rights than a container has; memory may be locked without limit on Triton's stacks",
    "security-opt": "Docker's usual protection stays on",
    "restart": "a deployment is started and stopped by tritontui alone",
    "user": "it runs as the image's own user",
    "network": "it is in Docker's usual network, and its ports are published",
    "ulimit": "the stack sets the limits that its server needs",
    "pid": "it has its own processes alone",
    "volumes-from": "name the mounts of that container under `mounts`",
    "tmpfs": "the container writes into its own layer",
    "memory": "there is no limit on the container's memory but `/dev/shm`'s",
    "workdir": "it starts in the image's own folder",
    "device": "it is given GPUs, and no other devices",
    "label": "tritontui sets its own labels",
    "link": "it is in Docker's usual network",
}
"""Why an option is left out, as the end of a sentence"""
ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}
