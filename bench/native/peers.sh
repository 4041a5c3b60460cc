#!/usr/bin/env bash
# Builds the tools of llama.cpp that the side-by-side benchmark runs: peers.sh FOLDER [VARIANT]
#
# The library comes from the source that the crate llama-cpp-sys-2 vendors, which was newer than the
# Python package's when this was pinned; the crate leaves the tools' sources out, so these, and
# nothing else, come from the source package llama-cpp-python. VARIANT is `native` (the default: all
# that the compiler finds on this machine), `noamx` (the same without AMX), `avx2` (without AMX and AVX-512), or `python` (everything
# from the Python package, for comparing versions).
#
# Needs a C++17 compiler, cargo and Python 3. llama-quantize is built first. JOBS and NICE are read
# from the environment (all cores, 0). What was built from what is written to FOLDER/VARIANT/VERSION.
set -euo pipefail

crate=llama-cpp-sys-2 crate_version=0.1.161
crate_sha256=e9bea77fde41bbc15a278891cd5edd2ba07c5260d162614b41080ba1f100b39b
package=llama-cpp-python package_version=0.3.36
package_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
bench=(llama-bench llama-batched-bench)
others=(llama-completion llama-perplexity)

folder="${1:?usage: peers.sh FOLDER [native|noamx|avx2|python]}"
variant="${2:-native}"
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$folder/src"
folder="$(cd "$folder" && pwd)"
jobs="${JOBS:-$(nproc)}"
low=(nice -n "${NICE:-0}")

if [ ! -x "$folder/venv/bin/cmake" ]; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
fi
export PATH="$folder/venv/bin:$PATH"

python_source="$folder/src/llama_cpp_python-$package_version"
if [ ! -d "$python_source" ]; then
    pip download --quiet --no-deps --no-binary "$package" --dest "$folder/src" "$package==$package_version"
    echo "$package_sha256  $python_source.tar.gz" | sha256sum --check --quiet
    tar --extract --gzip --file "$python_source.tar.gz" --directory "$folder/src"
fi
crate_source="$folder/src/vendor/$crate"
if [ ! -d "$crate_source" ]; then
    mkdir -p "$folder/src/fetch/src"
    touch "$folder/src/fetch/src/lib.rs"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' \
        "$crate" "$crate_version" >"$folder/src/fetch/Cargo.toml"
    cargo vendor --quiet --manifest-path "$folder/src/fetch/Cargo.toml" "$folder/src/vendor" >/dev/null
    grep --quiet "\"package\":\"$crate_sha256\"" "$crate_source/.cargo-checksum.json"
fi

source="$folder/src/llama.cpp-$variant"
options=()
case "$variant" in
native | noamx | avx2)
    source="$folder/src/llama.cpp"
    if [ ! -d "$source" ]; then
        cp --recursive "$crate_source/llama.cpp" "$source.part"
        rm --recursive "$source.part/tools"
        cp --recursive "$python_source/vendor/llama.cpp/tools" "$source.part/tools"
        mv "$source.part" "$source"
    fi
    ;;
python) source="$python_source/vendor/llama.cpp" ;;
*) echo "unknown variant: $variant" >&2; exit 2 ;;
esac
# -march=native is all that GGML_NATIVE adds on x86, so instructions go by taking them back.
case "$variant" in
noamx) without="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" ;;
avx2) without="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16 -mno-avx512f" ;;
*) without="" ;;
esac
if [ -n "$without" ]; then
    others=()
    for language in C CXX; do
        options+=("-DCMAKE_${language}_FLAGS_RELEASE=-O3 -DNDEBUG $without")
    done
fi

# gcc 12 takes ldtilecfg to read 8 of its 64 bytes and drops the stores to the others, so every use of
# AMX ends in a general protection fault. This keeps the stores, and changes nothing where they were.
amx="$source/ggml/src/ggml-cpu/amx/mmq.cpp"
keep='__asm__ volatile("" : : "r"(\&tc) : "memory");'
if ! grep --quiet '"r"(&tc)' "$amx"; then
    sed --in-place "s/^    _tile_loadconfig(&tc);/    $keep\n&/" "$amx"
    grep --quiet '"r"(&tc)' "$amx"
fi

build="$folder/$variant"
"${low[@]}" cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DGGML_CCACHE=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF "${options[@]}" >"$build.cmake.log"
"${low[@]}" cmake --build "$build" --parallel "$jobs" --target llama-quantize
"${low[@]}" cmake --build "$build" --parallel "$jobs" --target "${bench[@]}" "${others[@]}"

if [ "$variant" = native ]; then # for oracle.py and embeddings.py
    for program in logits states; do
        c++ -std=c++17 -O1 "$here/$program.cpp" -I"$source/include" -I"$source/ggml/include" -o "$build/bin/$program" \
            "$build"/src/libllama.a "$build"/ggml/src/libggml{,-cpu,-base}.a -fopenmp -ldl -pthread
    done
fi

part() { sed --quiet "s/^set($2 *\([0-9]*\)).*/\1/p" "$source/$1"; }
version() { echo "$(part "$1" "$2_MAJOR").$(part "$1" "$2_MINOR").$(part "$1" "$2_PATCH")"; }
{
    echo "llama.cpp $(version CMakeLists.txt LLAMA_VERSION) ggml $(version ggml/CMakeLists.txt GGML_VERSION)"
    case "$variant" in
    python) echo "from $package $package_version" ;;
    *) echo "library from $crate $crate_version, tools from $package $package_version" ;;
    esac
    echo "variant $variant: $(c++ --version | head -n 1), $(grep -E '^CMAKE_CXX_FLAGS_RELEASE:' "$build/CMakeCache.txt")"
} | tee "$build/VERSION"
