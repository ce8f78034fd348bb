#!/bin/bash
# Builds tritontui-test/triton:2.51 from parts that are on the machine, without any image registry: the real tritonserver
# of the nvidia-pytriton wheel on a small Debian 12 from the machine's own apt sources. Needs root and a Docker Engine.
# Does nothing when the image of this recipe exists; keeps the root file system so that a rebuild takes seconds.
# PYTHON names the interpreter whose environment holds the wheel.
set -euo pipefail

IMAGE=tritontui-test/triton:2.51
PACKAGES=libpython3.11,libstdc++6,python3-numpy # the backend's stub embeds 3.11 and needs numpy < 2; Debian 12 has 1.24
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-$here/../../.venv/bin/python}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tritontui-tests

fail() {
    echo "build_triton: $*" >&2
    exit 1
}

wheel=$("$PYTHON" -c 'import importlib.metadata as m; print(m.version("nvidia-pytriton"))') ||
    fail "$PYTHON has no nvidia-pytriton; install tritontui[demo] there, or set PYTHON."
site=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
recipe=$(cat "${BASH_SOURCE[0]}" <(echo "$wheel") | sha256sum | cut -c1-16)

docker version >/dev/null || fail "no Docker Engine answers; run $here/start_docker.sh first."
built=$(docker image inspect -f '{{ index .Config.Labels "tritontui-test.recipe" }}' "$IMAGE" 2>/dev/null || true)
if [ "$built" = "$recipe" ]; then
    exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

rootfs=$cache/triton-rootfs-$recipe.tar
if [ ! -f "$rootfs" ]; then
    [ "$(id -u)" = 0 ] || fail "making the root file system needs root."
    # shellcheck source=/dev/null
    [ "$(. /etc/os-release && echo "$ID-$VERSION_ID")" = debian-12 ] || fail "the recipe is for Debian 12."
    if ! command -v mmdebstrap >/dev/null; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mmdebstrap
    fi
    work=$(mktemp -d -p "$cache")
    trap 'rm -rf "$work"' EXIT

    sources() {
        # shellcheck disable=SC2016  # apt fills these in
        apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u
    }
    if [ -z "$(sources)" ]; then
        apt-get update -q
    fi
    # The server looks for its libraries in $ORIGIN/../../../nvidia_pytriton.libs, which from /opt/tritonserver/bin is at the root.
    mkdir -p "$work/added/opt"
    cp -r "$site/pytriton/tritonserver" "$work/added/opt/"
    cp -r "$site/nvidia_pytriton.libs" "$work/added/"
    mv "$work/added/opt/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub" \
        "$work/added/opt/tritonserver/backends/python/"
    rm -rf "$work/added/opt/tritonserver/python_backend_stubs"

    sources | mmdebstrap --quiet --variant=essential --include="$PACKAGES" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="cp -r --preserve=mode '$work/added/.' \"\$1/\"" bookworm "$work/rootfs.tar" -
    rm -f "$cache"/triton-rootfs-*.tar
    mv "$work/rootfs.tar" "$rootfs"
fi

docker import \
    -c 'ENV PATH=/opt/tritonserver/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    -c 'ENV PYTHONDONTWRITEBYTECODE=1' \
    -c 'WORKDIR /opt/tritonserver' \
    -c "LABEL tritontui-test.recipe=$recipe" \
    "$rootfs" "$IMAGE" >/dev/null
echo "build_triton: $IMAGE" >&2
