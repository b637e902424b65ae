#!/bin/sh
# Python with venv, where a fresh Debian has none. The rest of the set-up is Python's.
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
	echo "nvscope needs Python 3.11 or later with venv: install python3-venv, as root" >&2
	exit 3
fi
echo "python3-venv (Debian package) ..."
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
mkdir -p "$lists/partial"
log="$lists/log"
if ! { apt-get -q -o Dir::State::lists="$lists" -o APT::Sandbox::User=root update &&
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dir::State::lists="$lists" \
		-o APT::Sandbox::User=root install --no-install-recommends python3-venv; } > "$log" 2>&1
then
	echo "python3-venv could not be installed: $(grep '^E:' "$log" | head -n 1)" >&2
	exit 3
fi
