#!/usr/bin/env bash
# Debian packages that some tests need (a clock that jumps, an MQTT broker, a PostgreSQL with TLS). Quiet, and nothing to do where they are there; tests
# that miss one are skipped, but in CI they fail.
set -euo pipefail
packages=(faketime mosquitto mosquitto-clients postgresql)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "Not installed, and only root on Debian can: ${missing[*]}. Some tests will be skipped." >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
