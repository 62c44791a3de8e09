#!/bin/sh
# Unpacks Debian's PoCL for 64-bit Arm and the libraries that it needs into a folder: an OpenCL for the arm64 agent under
# qemu-user. Nothing is installed, and apt's own state is left alone.
#
#   infra/arm64/opencl.sh [FOLDER]    build/arm64 by default; does nothing where the folder is there already
set -eu

folder=${1:-$(dirname "$0")/../../build/arm64}
[ -d "$folder" ] && exit 0

. /etc/os-release
if [ "${VERSION_CODENAME:-}" != bookworm ]; then
  echo "the packages below are those of Debian 12 (bookworm), and this is ${PRETTY_NAME:-unknown}" >&2
  exit 1
fi
# PoCL, its loader, and all libraries that `readelf --dynamic` finds on from there; a recursive install would bring clang.
packages="libpocl2 libpocl2-common ocl-icd-libopencl1 libclang-cpp15 libllvm15 libhwloc15 libudev1 libedit2 libbsd0
  libmd0 libtinfo6 libxml2 libicu72 liblzma5 libz3-4 libzstd1 zlib1g libffi8 libstdc++6 libgcc-s1 libc6"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
chmod 755 "$work"
options="-qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oAPT::Sandbox::User=root -oAcquire::Retries=2
  -oDir::State::Lists=$work/lists -oDir::State::status=/dev/null -oDir::Cache=$work/cache"
apt-get $options update
(cd "$work/cache" && apt-get $options download $packages)
for package in "$work"/cache/*.deb; do
  dpkg-deb --extract "$package" "$work/root"
done
mkdir -p "$(dirname "$folder")"
cp -a "$work/root" "$folder.$$"
mv "$folder.$$" "$folder"
