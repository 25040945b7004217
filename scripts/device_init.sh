# Part of board.sh: the first process of an emulated device, in namespaces of its own.
# What it writes goes to memory, so that every boot starts from the same system.
set -euo pipefail

mount -t tmpfs -o size=2g tmpfs "$SCRATCH"
mkdir "$SCRATCH"/{upper,work,root}
mount -t overlay -o "lowerdir=$BOARD/$KIND,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" \
    overlay "$SCRATCH/root"
root=$SCRATCH/root
hostname "emulated-$KIND"

mount -t proc proc "$root/proc"
mount --bind "$BOARD/cpuinfo" "$root/proc/cpuinfo"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero random urandom tty full; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/tmp" "$root/var/tmp"
chmod 1777 "$root/tmp" "$root/var/tmp"
mkdir -p "$root/full"
mount -t tmpfs -o mode=1777,size=256k tmpfs "$root/full" # a disk that is soon full

mount -t tmpfs -o mode=755 tmpfs "$root/sys"
mkdir -p "$root"/sys/{firmware/devicetree/base,class/thermal/thermal_zone0,devices/system/cpu}
echo 48312 > "$root/sys/class/thermal/thermal_zone0/temp"
echo cpu-thermal > "$root/sys/class/thermal/thermal_zone0/type"
for list in possible present online; do
    echo 0-1 > "$root/sys/devices/system/cpu/$list"
done
for core in 0 1; do
    folder=$root/sys/devices/system/cpu/cpu$core
    mkdir -p "$folder/cpufreq" "$folder/topology"
    echo 1800000 | tee "$folder/cpufreq/"{scaling_cur_freq,cpuinfo_max_freq} > /dev/null
    echo 600000 > "$folder/cpufreq/cpuinfo_min_freq"
    echo ondemand > "$folder/cpufreq/scaling_governor"
    echo 0 > "$folder/topology/physical_package_id"
    echo $core > "$folder/topology/core_id"
done

policy=$root/sys/devices/system/cpu/cpufreq/policy0
mkdir -p "$policy"
cp "$root"/sys/devices/system/cpu/cpu0/cpufreq/* "$policy"

export LC_ALL=C QEMU_CPU=cortex-a72
if [ "$KIND" = pi ]; then
    printf 'Raspberry Pi 4 Model B Rev 1.4\0' > "$root/sys/firmware/devicetree/base/model"
    export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
    exec "$PYTHON" "$HERE/without_vsock.py" chroot "$root" /usr/sbin/sshd -D -e -p "$PORT"
fi
export ADBD_PORT=$PORT HOME=/ TMPDIR=/data/local/tmp SHELL=/system/bin/sh
export ANDROID_ROOT=/system ANDROID_DATA=/data
chroot=$(command -v chroot)
export PATH=/system/bin:/vendor/bin
exec "$PYTHON" "$HERE/without_vsock.py" "$chroot" "$root" \
    /usr/lib/android-sdk/platform-tools/adbd
