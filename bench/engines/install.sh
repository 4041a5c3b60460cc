#!/usr/bin/env bash
# Installs the engines that are compared with: llama.cpp (through llama-cpp-python, its library built
# from the source archive), mlx and mlx-lm (CPU), torch and transformers. Nothing goes into the tree.
set -euo pipefail
home="${HWLEDGER_ENGINES:-$HOME/.cache/hwledger-engines}"
work="${HWLEDGER_ENGINES_WORK:-${TMPDIR:-/tmp}/hwledger-engines-work}"
jobs="${CMAKE_BUILD_PARALLEL_LEVEL:-2}"
binding="${LLAMA_CPP_PYTHON_VERSION:-0.3.36}"
mkdir -p "$work"

if [ ! -x "$home/bin/python" ]; then python3 -m venv "$home"; fi
"$home/bin/pip" install -q -U pip cmake ninja "scikit-build-core[pyproject]" numpy diskcache jinja2 typing_extensions
export PATH="$home/bin:$PATH"

# llama.cpp: one source archive gives both the binding and the library it was written for
cd "$work"
if [ ! -d "llama_cpp_python-$binding" ]; then
    pip download -q --no-deps --no-binary llama-cpp-python "llama-cpp-python==$binding" -d .
    tar xzf "llama_cpp_python-$binding.tar.gz"
fi
source_dir="$work/llama_cpp_python-$binding/vendor/llama.cpp"
build() { # build FOLDER: the shared libraries, without tools, tests, server and network
    cmake -S "$source_dir" -B "$1" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_C_FLAGS_RELEASE="${ENGINE_CFLAGS:--O1 -DNDEBUG}" -DCMAKE_CXX_FLAGS_RELEASE="${ENGINE_CFLAGS:--O1 -DNDEBUG}" \
        -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN' \
        -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=ON
    nice ninja -C "$1" -j "$jobs" llama
}
build "$work/build"
mkdir -p "$home/llama.cpp" && cp -a "$work"/build/bin/*.so* "$home/llama.cpp/"
CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF" pip install -q --no-build-isolation "$work/llama_cpp_python-$binding"

# the same library with the graph allocator's debug prints on (alloc_trace.py)
alloc="$source_dir/ggml/src/ggml-alloc.c"
cp "$alloc" "$work/ggml-alloc.c.orig"
sed -i 's|^#define AT_PRINTF(...)$|#define AT_PRINTF(...) GGML_LOG_DEBUG(__VA_ARGS__)|' "$alloc"
nice ninja -C "$work/build" -j "$jobs" ggml-base
mkdir -p "$home/llama.cpp-allocdebug"
cp -a "$work"/build/bin/*.so* "$home/llama.cpp-allocdebug/"
cp "$work/ggml-alloc.c.orig" "$alloc"

pip install -q "mlx[cpu]==${MLX_VERSION:-0.32.4}" "mlx-lm==${MLX_LM_VERSION:-0.32.2}"

# a second environment, because torch and mlx-lm may want different companions
if [ ! -x "$home-torch/bin/python" ]; then python3 -m venv "$home-torch"; fi
"$home-torch/bin/pip" install -q "torch==${TORCH_VERSION:-2.15.0}" "transformers==${TRANSFORMERS_VERSION:-5.23.0}"
echo "engines are in $home and $home-torch"
