#!/bin/sh
# Fetches the three archives that the texts are read from into the folder given.
# sources.py checks their sums, so a newer version that replaced one is noticed.
set -eu
mkdir -p "$1"
cd "$1"
apt-get download r-cran-janeaustenr=1.0.0-1 wordnet-base=1:3.0-37
python3 -m pip download --quiet --no-deps --no-binary :all: brotli==1.2.1
