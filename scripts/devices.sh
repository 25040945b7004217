# Part of board.sh: an arm64 board behind its own sshd, and an arm64 phone behind its own adbd.
# Both systems are only unpacked, since running Debian's set-up scripts emulated takes minutes; what
# those would have done and we need is done here.

DEBIAN=http://deb.debian.org/debian

make_devices() {
    need_emulation
    mkdir -p "$BOARD"
    [ -e "$BOARD/cpuinfo" ] || processors
    [ -e "$BOARD/key" ] || ssh-keygen -q -t ed25519 -N '' -C board -f "$BOARD/key"
    [ -e "$BOARD/pi.complete" ] || make_pi "$BOARD/pi" &
    local pi=$!
    [ -e "$BOARD/phone.complete" ] || make_phone "$BOARD/phone"
    wait $pi
}

make_pi() {
    local root=$1
    rm -rf "$root"
    mmdebstrap --quiet --arch=arm64 --variant=extract --include="$(tr -s ' \n' , <<< "
        python3 python3-minimal libpython3-stdlib openssh-server openssh-sftp-server bash dash
        coreutils libc-bin procps util-linux sed grep gawk findutils tar gzip base-files base-passwd
        login passwd libstdc++6 libgcc-s1 libgomp1 hostname" | sed 's/^,//; s/,$//')" \
        bookworm "$root" "deb $DEBIAN bookworm main"
    cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
    echo 'pi:x:1000:' >> "$root/etc/group"
    sed 's/^root:[^:]*:/root:x:/; s/:\*:/:x:/' "$root/usr/share/base-passwd/passwd.master" \
        > "$root/etc/passwd"
    echo 'sshd:x:101:65534::/run/sshd:/usr/sbin/nologin' >> "$root/etc/passwd"
    echo 'pi:x:1000:1000:pi:/home/pi:/bin/bash' >> "$root/etc/passwd"
    printf '%s:*:19000:0:99999:7:::\n' root sshd pi > "$root/etc/shadow"
    chmod 600 "$root/etc/shadow"
    ln -sf dash "$root/bin/sh"
    ln -sf gawk "$root/usr/bin/awk"
    echo '127.0.0.1 localhost board' > "$root/etc/hosts"
    mkdir -p "$root/run/sshd" "$root/home/pi/.ssh" "$root/proc" "$root/sys" "$root/dev"
    cp "$BOARD/key.pub" "$root/home/pi/.ssh/authorized_keys"
    chmod 700 "$root/home/pi/.ssh"
    chown -R 1000:1000 "$root/home/pi"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$root/etc/ssh/ssh_host_ed25519_key"
    cat > "$root/etc/ssh/sshd_config" <<< "HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PasswordAuthentication no
PidFile none
Subsystem sftp internal-sftp"
    echo 'qemu-user' > "$root/etc/edgekit-emulated"
    # Modules compiled here, by the same Python version: there it would take seconds.
    python3.11 -m compileall -q "$root/usr/lib/python3.11" > /dev/null 2>&1 || true
    touch "$root.complete"
}

make_phone() {
    local root=$1 name
    rm -rf "$root"
    mmdebstrap --quiet --arch=arm64 --variant=extract \
        --aptopt='APT::Default-Release "bookworm-backports"' \
        --include=adbd,mksh,toybox,libc6,libstdc++6,libgcc-s1 \
        bookworm "$root" "deb $DEBIAN bookworm main" "deb $DEBIAN bookworm-backports main"
    mkdir -p "$root"/{system/bin,vendor/bin,data/local/tmp,sdcard,proc,sys,dev,tmp,etc}
    chmod 1777 "$root/data/local/tmp"
    ln -sf mksh "$root/bin/sh"
    cp "$root/bin/mksh" "$root/system/bin/sh"
    for name in $(qemu-aarch64-static -L "$root" "$root/bin/toybox"); do
        ln -sf /bin/toybox "$root/system/bin/$name"
    done
    echo 'qemu-user' > "$root/etc/edgekit-emulated"
    cat > "$root/system/build.prop" <<< "ro.product.model=Pixel 8
ro.product.manufacturer=Google
ro.soc.model=Tensor G3
ro.build.version.release=14
ro.build.version.sdk=34
ro.product.cpu.abi=arm64-v8a
ro.serialno=EMULATED"
    cat > "$root/system/bin/getprop" <<< '#!/system/bin/sh
while IFS="=" read -r key value; do
    if [ $# -eq 0 ]; then echo "[$key]: [$value]"; elif [ "$key" = "$1" ]; then echo "$value"; fi
done < /system/build.prop'
    cat > "$root/system/bin/dumpsys" <<< '#!/system/bin/sh
case $1 in
battery) printf "Current Battery Service state:\n  USB powered: true\n  level: 87\n  scale: 100\n  voltage: 4312\n  temperature: 287\n" ;;
thermalservice) printf "Thermal Status: 0\nCurrent temperatures from HAL:\n\tTemperature{mValue=31.4, mType=3, mName=VIRTUAL-SKIN, mStatus=0}\n" ;;
*) echo "Can'\''t find service: $1"; exit 20 ;;
esac'
    chmod 755 "$root/system/bin/getprop" "$root/system/bin/dumpsys"
    touch "$root.complete"
}

boot() {
    local kind=${1:-} port
    case $kind in
        pi) port=22 ;;
        phone) port=15555 ;; # adb itself looks for emulators on 5555 to 5585
        *) echo "boot pi, or boot phone" >&2; exit 2 ;;
    esac
    if [ ! -e "$BOARD/$kind.complete" ]; then
        echo "There is no $kind; make one: sudo scripts/board.sh devices" >&2
        exit 1
    fi
    trap 'tear_down' EXIT
    trap 'exit 143' TERM INT HUP
    for number in $(seq 1 200); do
        space=edgekit$number address=10.77.$number
        ip netns add "$space" 2> /dev/null && break
        space=
    done
    [ -n "$space" ] || { echo "no network namespace is free" >&2; exit 1; }
    ip link add "ek$number" type veth peer name eth0 netns "$space"
    ip address add "$address.1/30" dev "ek$number"
    ip link set "ek$number" up
    ip -n "$space" address add "$address.2/30" dev eth0
    ip -n "$space" link set eth0 up
    ip -n "$space" link set lo up
    scratch=$(mktemp -d "$BOARD/boot-XXXXXX")
    BOARD=$BOARD KIND=$kind SCRATCH=$scratch PORT=$port PYTHON=$(python3 -c "import sys; print(sys.executable)") \
        HERE=$PWD/scripts ip netns exec "$space" \
        unshare --mount --pid --uts --ipc --fork --propagation private \
        bash "$PWD/scripts/device_init.sh" > "$scratch.log" 2>&1 < /dev/null &
    device=$!
    local left=200
    until (exec 3<> "/dev/tcp/$address.2/$port") 2> /dev/null; do
        left=$((left - 1))
        if [ $left = 0 ] || ! kill -0 $device 2> /dev/null; then
            cat "$scratch.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    describe "$kind" "$address.2" "$port" "ek$number"
    exec 4<&0
    cat <&4 > /dev/null & # ends with our input, however whoever holds it ends
    wait -n $device $! || true
}

# A running device as a table of edgekit.toml; the comments are for those who cut its cable.
describe() {
    echo "# link: $4"
    echo "[devices.emulated-$1]"
    if [ "$1" = pi ]; then
        echo "# known_hosts: $2 $(cut -d' ' -f1,2 "$BOARD/pi/etc/ssh/ssh_host_ed25519_key.pub")"
        printf '%s = "%s"\n' target raspberry-pi-4 transport ssh address "pi@$2" identity "$BOARD/key"
    else
        printf '%s = "%s"\n' target pixel-8 transport adb address "$2:$3"
    fi
    echo "emulated = true"
    echo
}

tear_down() {
    trap - EXIT TERM INT HUP
    if [ -n "${device:-}" ]; then
        # the first process of its process namespace: all others go with it
        pgrep -P "$device" | xargs --no-run-if-empty kill -KILL 2> /dev/null || true
        wait "$device" 2> /dev/null || true
    fi
    [ -z "${space:-}" ] || ip netns delete "$space"
    [ -z "${scratch:-}" ] || rm -rf "$scratch" "$scratch.log"
}
