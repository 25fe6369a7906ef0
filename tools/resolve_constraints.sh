#!/bin/sh
# Resolve every dependency to its newest version in a clean environment and write constraints.txt.
# torch stays where it is: its pin decides whether pip takes a CPU build or a CUDA build of several gigabytes.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" tools/requirements.py build core learning backbone privacy test lint docs > "$work/requirements.txt"
grep '^torch==' constraints.txt > "$work/torch.txt"
"$work/venv/bin/python" -m pip install --quiet --constraint "$work/torch.txt" --requirement "$work/requirements.txt"
{
  sed -n '/^#/p' constraints.txt
  "$work/venv/bin/python" -m pip freeze --all --exclude pip | sed 's/+cpu$//' | sort -f
} > "$work/constraints.txt"
cp "$work/constraints.txt" constraints.txt
