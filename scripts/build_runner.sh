#!/bin/sh
# Builds the native runner, native/edgekit_runner.c, with any C compiler: no library is needed.
#
#   scripts/build_runner.sh                                           # this machine: build/runner
#   CC=aarch64-linux-gnu-gcc scripts/build_runner.sh build/arm64/edgekit_runner
#   CC="$NDK/toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android26-clang" \
#       scripts/build_runner.sh build/android/edgekit_runner          # never tried on a real phone
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/runner/edgekit_runner}
mkdir -p "$(dirname "$out")"
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Werror ${CFLAGS:-} native/edgekit_runner.c -o "$out" \
    -Wl,-rpath,"\$ORIGIN" -ldl -lm
echo "$out"
