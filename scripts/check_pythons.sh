#!/usr/bin/env bash
# Checks what can be checked of each Python that pyproject.toml allows, with the interpreters that are installed here: the product
# compiles without a warning, and requirements/dev.txt installs from wheels alone (resolved, not installed). Says what was not
# checked. The argument is a Python that has uv.
set -euo pipefail
cd "$(dirname "$0")/.."
python_with_uv=${1:?a Python that has uv}
minors=(11 12 13 14)
product=(headrace app agents tables web)
index_seconds=6
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the path of an interpreter that runs; a shim of pyenv exists for versions that are installed but not chosen, too.
interpreter() {
  local name=python3.$1 candidate
  for candidate in $(type -aP "$name") "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$1".*/bin/"$name"; do
    if "$candidate" -c '' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

compiles() {
  local found
  found=$(interpreter "$1")
  if [ -z "$found" ]; then
    echo "Python 3.$1: not compiled, no such interpreter here"
    return
  fi
  PYTHONPYCACHEPREFIX=$scratch/3.$1 "$found" -W error -m compileall -q "${product[@]}" || return 1
  echo "Python 3.$1: compiles"
}

installs() {
  local log=$scratch/uv.$1 code=0
  timeout "$index_seconds" "$python_with_uv" -m uv pip install --quiet --dry-run --target "$scratch/target.$1" \
    --python-version "3.$1" --only-binary :all: --requirement requirements/dev.txt >"$log" 2>&1 || code=$?
  if [ "$code" -eq 0 ]; then
    echo "Python 3.$1: every requirement has a wheel"
  elif [ "$code" -eq 124 ] || grep -qiE 'failed to fetch|error sending request|network was disabled' "$log"; then
    echo "Python 3.$1: wheels not checked, the package index did not answer"
  else
    cat "$log" >&2
    return 1
  fi
}

running=()
for minor in "${minors[@]}"; do
  { compiles "$minor" && installs "$minor"; } >"$scratch/said.$minor" 2>&1 &
  running+=($!)
done
failed=0
for number in "${!minors[@]}"; do
  wait "${running[$number]}" || failed=1
  cat "$scratch/said.${minors[$number]}"
done
exit "$failed"
