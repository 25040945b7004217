#!/bin/bash
# An arm64 Debian board on this machine: a real arm64 system, its programs run by qemu-user.
#
#   sudo scripts/board.sh make              # once, a few minutes: the system in build/board/arm64
#   sudo scripts/board.sh run COMMAND...    # run a command on it
#   sudo scripts/board.sh swift             # Debian 13's Swift compiler, for package_swift.py
#   sudo scripts/board.sh devices           # once, half a minute: a board with sshd, a phone with adbd
#   sudo scripts/board.sh boot pi|phone     # start one; it lasts until our input or this script ends
#
# Needs a Debian host with: qemu-user-static binfmt-support mmdebstrap arch-test; `boot` needs
# iproute2 as well.  A booted device is in a network namespace of its own, which only this machine
# reaches: adbd asks nobody for a password.
# It checks what a board does, not how fast: emulation is a hundred times slower than a board.
set -euo pipefail

cd "$(dirname "$0")/.."
BOARD=${EDGEKIT_BOARD:-$PWD/build/board}
ROOT=$BOARD/arm64
PYTHON=${PYTHON:-.venv/bin/python}

need_emulation() {
    local program
    for program in qemu-aarch64-static mmdebstrap arch-test ip; do
        if ! command -v "$program" > /dev/null; then
            echo "$program is missing: apt-get install --no-install-recommends" \
                "qemu-user-static binfmt-support mmdebstrap arch-test iproute2 openssh-client" >&2
            exit 1
        fi
    done
    update-binfmts --enable qemu-aarch64
}

make_board() {
    if [ -e "$ROOT.complete" ]; then
        echo "The board is there: $ROOT" >&2
        return
    fi
    need_emulation
    rm -rf "$ROOT"
    mkdir -p "$BOARD"
    mmdebstrap --quiet --arch=arm64 --variant=essential --include=python3,python3-numpy,libstdc++6 \
        bookworm "$ROOT"
    wheels
    processors
    touch "$ROOT.complete"
}

# The runtimes, as pip would install them there; pip itself would take minutes to run.
wheels() {
    local platforms=()
    for glibc in 2014 _2_17 _2_27 _2_28 _2_34; do
        platforms+=(--platform "manylinux${glibc}_aarch64")
    done
    "$PYTHON" -m pip install --quiet --no-deps --no-compile --only-binary=:all: \
        --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
        "${platforms[@]}" --constraint constraints.txt \
        --target "$ROOT/usr/local/lib/python3.11/dist-packages" \
        onnxruntime ai-edge-litert flatbuffers packaging protobuf typing_extensions \
        backports.strenum tqdm
}

# What the runtimes read at import; with an x86 list of processors they crash.
processors() {
    local number
    : > "$BOARD/cpuinfo"
    for number in 0 1; do
        printf '%s\t: %s\n' processor $number BogoMIPS 108.00 \
            Features 'fp asimd evtstrm crc32 cpuid' 'CPU implementer' 0x41 \
            'CPU architecture' 8 'CPU variant' 0x0 'CPU part' 0xd08 'CPU revision' 3
        echo
    done >> "$BOARD/cpuinfo"
}

# The compiler's own system, of this machine's architecture; 2.4 GB.
make_swift() {
    mkdir -p "$BOARD"
    mmdebstrap --quiet --variant=extract \
        --include=swiftlang,libc6-dev,linux-libc-dev,libgcc-14-dev,libstdc++-14-dev \
        trixie "$BOARD/swift"
    local folder
    for folder in bin lib lib64 sbin; do # as Debian's base-files has them
        ln -sfn "usr/$folder" "$BOARD/swift/$folder"
    done
    mkdir -p "$BOARD/swift/proc" "$BOARD/swift/tmp"
}

# In namespaces of its own, so that nothing that is mounted outlives the command.
run() {
    if [ ! -e "$ROOT.complete" ]; then
        echo "There is no board; make one: sudo scripts/board.sh make" >&2
        exit 1
    fi
    BOARD=$BOARD ROOT=$ROOT exec unshare --mount --pid --uts --ipc --fork --propagation private \
        bash -c '
        set -e
        hostname board
        mount -t proc proc "$ROOT/proc"
        mount --bind "$BOARD/cpuinfo" "$ROOT/proc/cpuinfo"
        mount -t tmpfs -o mode=755 tmpfs "$ROOT/sys"
        mkdir -p "$ROOT/sys/devices/system/cpu"
        for list in possible present online; do
            echo 0-1 > "$ROOT/sys/devices/system/cpu/$list"
        done
        for device in null zero random urandom; do
            touch "$ROOT/dev/$device"
            mount --bind "/dev/$device" "$ROOT/dev/$device"
        done
        export LC_ALL=C PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin QEMU_CPU=cortex-a72
        exec chroot "$ROOT" "$@"' board "$@"
}

case ${1:-} in
    make) make_board ;;
    swift) make_swift ;;
    run) shift; run "$@" ;;
    devices) . scripts/devices.sh; make_devices ;;
    boot) shift; . scripts/devices.sh; boot "$@" ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
