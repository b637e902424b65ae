#!/bin/sh
# The Debian package, built in a copy of the checkout: build/deb/nvscope_VERSION_all.deb.
# Run by `make deb`. Plain dpkg-buildpackage -b does the same in the checkout itself.
set -eu
cd "$(dirname "$0")/.."
made=build/deb
log=$made/build.log

# As root, into lists of our own: a fresh machine has none.
install_tools() {
	lists=$(mktemp -d)
	trap 'rm -rf "$lists"' EXIT
	mkdir "$lists/partial"
	own="-q -y -o Dir::State::lists=$lists -o APT::Sandbox::User=root"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # words
	apt-get $own update && apt-get $own install --no-install-recommends dpkg-dev &&
		apt-get $own build-dep --no-install-recommends ./
}

rm -rf $made
mkdir -p $made/source
if ! dpkg-checkbuilddeps 2> $made/missing; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
		echo "building the package needs more ($(tail -n 1 $made/missing)):" \
			"as root, apt-get install dpkg-dev && apt-get build-dep ./" >&2
		exit 3
	fi
	echo "what the package is built with (Debian packages) ..."
	if ! install_tools > $log 2>&1; then
		echo "it could not be installed: $(grep '^E:' $log | head -n 1)" >&2
		exit 3
	fi
fi

tar -c --exclude-vcs --exclude=./build --exclude=./.venv --exclude=__pycache__ \
	--exclude='./.*_cache' --exclude='*.egg-info' --exclude=./.hypothesis . | tar -x -C $made/source
# Debian's Python, whichever other one comes first here.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH
if ! (cd $made/source && dpkg-buildpackage -b -us -uc) > $log 2>&1; then
	tail -n 20 $log >&2
	exit 1
fi
rm -rf $made/source
ls $made/*.deb
