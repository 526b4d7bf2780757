# Shared by the scripts in hack/: what they say, and how they install what is missing. Source it in the repository's root.

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }

# need_packages PACKAGE[:PROGRAM]...  installs each Debian package whose program (default: its own name) is missing.
# A PROGRAM that begins with / is a path.
need_packages() {
    local missing=() entry package program
    for entry in "$@"; do
        package=${entry%%:*} program=${entry#*:}
        case $program in
            /*) [ -e "$program" ] || missing+=("$package") ;;
            *) command -v "$program" >/dev/null || missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || fail "missing ${missing[*]}: run as root, or apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    # A package may start a service when it is installed; none is wanted here.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "cannot install ${missing[*]}"
    rm -f /usr/sbin/policy-rc.d
    trap - EXIT
}

# need_debian_13 PACKAGE PLUGIN  puts a docker plugin into target/tools: a program of Debian 13 that runs on Debian 12 as it is.
need_debian_13() {
    local package=$1 plugin=$2 work options
    [ -x "target/tools/$plugin" ] && return
    say "fetching $package of Debian 13"
    work=$(mktemp -d)
    mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
    printf 'deb [signed-by=%s] %s trixie main\n' /usr/share/keyrings/debian-archive-keyring.gpg \
        "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/sources.list"
    options=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
        -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    (cd "$work" && apt-get -qq "${options[@]}" update >/dev/null && apt-get -qq "${options[@]}" download "$package" >/dev/null &&
        dpkg-deb -x "$package"_*.deb unpacked) || fail "cannot fetch $package of Debian 13 (mirror: DEBIAN_MIRROR)"
    mkdir -p target/tools
    install -m 755 "$work/unpacked/usr/libexec/docker/cli-plugins/$plugin" "target/tools/$plugin"
    rm -rf "$work"
    "target/tools/$plugin" version >/dev/null || fail "$package of Debian 13 does not run here"
}

# need_compose_v2, need_buildx  docker compose v2 and docker buildx, as docker's command line has them for plugins.
need_compose_v2() { need_debian_13 docker-compose docker-compose; }
need_buildx() { need_debian_13 docker-buildx docker-buildx; }

# need_client_libraries  puts docker-py and testcontainers (Python), dockerode and testcontainers (node) into target/tools,
# in the versions that tests/e2e/clients names.
need_client_libraries() {
    local clients=$PWD/tests/e2e/clients stamp=target/tools/clients.sha256 wanted
    wanted=$(cat "$clients/requirements.txt" "$clients/package.json" | sha256sum)
    [ "$wanted" = "$(cat "$stamp" 2>/dev/null)" ] && return
    need_packages python3 nodejs:node
    python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv:/usr/lib/python3/ensurepip
    command -v npm >/dev/null || need_packages npm
    say "fetching the client libraries of tests/e2e/clients"
    rm -rf target/tools/python target/tools/node
    mkdir -p target/tools/node
    python3 -m venv target/tools/python || fail "cannot make a Python environment"
    target/tools/python/bin/pip install --quiet --disable-pip-version-check -r "$clients/requirements.txt" ||
        fail "cannot install the Python client libraries"
    cp "$clients/package.json" target/tools/node/
    (cd target/tools/node && npm install --no-package-lock --no-audit --no-fund --loglevel=error) ||
        fail "cannot install the node client libraries"
    printf '%s\n' "$wanted" >"$stamp"
}

need_root() { [ "$(id -u)" = 0 ] || fail "$0 makes namespaces, mounts and cgroups: run it as root"; }

# test_binaries  reads cargo's JSON messages and prints "name path" for each test executable.
test_binaries() {
    sed -n 's/.*"target":{"kind":\["\([a-z]*\)"\].*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2 \3/p' |
        awk '$1 != "bin" || 1 { print $2 "-" $1, $3 }' | sed 's/^e2e-test /e2e /'
}

# make_shell_image ARCHIVE NAME:TAG  writes a docker archive of a small userland: busybox-static and its links.
make_shell_image() {
    local archive=$1 name=$2 work applet digest
    work=$(mktemp -d)
    mkdir -p "$work"/tree/{bin,etc,root,home,tmp,proc,sys,dev,var,usr/bin}
    chmod 1777 "$work/tree/tmp"
    cp /bin/busybox "$work/tree/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$work/tree/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$work/tree/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/tree/etc/group"
    # The same tree gives the same image, whenever it is made.
    tar -C "$work/tree" --sort=name --mtime=@1704067200 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" .
    digest=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    cat >"$work/config.json" <<JSON
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"2024-01-01T00:00:00Z",
"config":{"Cmd":["sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]},
"history":[{"created":"2024-01-01T00:00:00Z","created_by":"busybox-static of Debian"}]}
JSON
    printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/manifest.json"
    tar -C "$work" --mtime=@1704067200 --owner=0 --group=0 -cf "$archive" manifest.json config.json layer.tar
    rm -rf "$work"
}

# build_release DIR  builds the release binaries and puts them in DIR. The shim is static when the musl target is there.
build_release() {
    local dir=$1 musl=x86_64-unknown-linux-musl shim
    mkdir -p "$dir"
    cargo build --release --quiet -p daemon -p ctl -p pod
    rustup target add "$musl" >/dev/null 2>&1 || true
    if rustup target list --installed 2>/dev/null | grep -qx "$musl"; then
        cargo build --quiet --profile shim --target "$musl" -p shim
        shim=target/$musl/shim/containerd-shim-gantry-v1
    else
        cargo build --quiet --profile shim -p shim
        shim=target/shim/containerd-shim-gantry-v1
    fi
    install -m 755 target/release/{gantryd,gantry,pod} "$shim" "$dir/"
}

# cgroup_dirs NAME  prints every cgroup directory of that name and below, deepest first, in whatever hierarchies exist.
cgroup_dirs() {
    { find /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1" -type d 2>/dev/null || true; } | sort -u -r
}
