#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prepare this machine and folder: distribution packages that are missing, a Python, .venv.
# Does only what is not done yet; prints a line for what it does.
#   setup.sh packages       install missing distribution packages (needs root and apt-get)
#   setup.sh test_packages  those that only the tests need
#   setup.sh venv           make .venv with vrouter and its test tools
#   setup.sh own            give files that root made here to the user who called sudo
set -eu
cd "$(dirname "$0")/.."

CLANG=${CLANG:-clang-19}
LLVM_STRIP=${LLVM_STRIP:-llvm-strip-19}

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

missing_packages() {
    # a compiler of the caller's own choice cannot be installed from here
    [ "$CLANG" = clang-19 ] || have "$CLANG" || die "CLANG=$CLANG is no command here"
    [ "$LLVM_STRIP" = llvm-strip-19 ] || have "$LLVM_STRIP" || die "LLVM_STRIP=$LLVM_STRIP is no command here"
    have "$CLANG" || echo clang-19
    have "$LLVM_STRIP" || echo llvm-19
    PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | grep -q 'libbpf\.so\.1 ' || echo libbpf1
    [ -e /usr/include/linux/bpf.h ] || echo linux-libc-dev
    have ip || echo iproute2
    have ping || echo iputils-ping
    have tcpdump || echo tcpdump
    have tshark || echo tshark
    have iperf3 || echo iperf3
    have ethtool || echo ethtool
    have man || echo man-db
    have sysctl || echo procps
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python) || { echo python3; python=python3; }
        "$python" -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    fi
}

missing_for_tests() {
    # vhost0: firewalls, and a leased address with the owners that it may have
    have nft || echo nftables
    have iptables || echo iptables
    have dnsmasq || echo dnsmasq-base
    have dhclient || echo isc-dhcp-client
    have busybox || echo busybox-static
    # packet services: clients of DHCP, DNS and router discovery
    have dhcpcd || echo dhcpcd-base
    have dig || echo bind9-dnsutils
    have rdisc6 || echo ndisc6
    have ifup || echo ifupdown
    # a peer of BFD sessions
    have bird || echo bird2
    # containers by CNI, and what to compare with
    have podman || echo podman
    have runc || echo runc
    [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
    have systemd-analyze || echo systemd
    # a real VM; its kernel is taken out of its package by the tests
    have qemu-system-x86_64 || echo qemu-system-x86
    busybox --list 2>/dev/null | grep -qx insmod || echo busybox-static
}

find_python() {
    for one in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$one"
            return 0
        fi
    done
    return 1
}

packages() {
    install_missing missing_packages
}

test_packages() {
    install_missing missing_for_tests
}

install_missing() {
    wanted=$("$1" | tr '\n' ' ')
    [ -n "$wanted" ] || return 0
    have apt-get || die "missing: $wanted- there is no apt-get here: install them with your" \
        "distribution's own tool, then run this again"
    [ "$(id -u)" = 0 ] || die "missing: $wanted- run this as root, or: sudo apt-get install $wanted"
    say "installing distribution packages: $wanted"
    # debconf must not ask (tshark and iperf3 would)
    export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
    apt-get -qq update || die "apt-get update failed: check the network and /etc/apt/sources.list"
    # shellcheck disable=SC2086 # a list of words
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install $wanted >/dev/null ||
        die "apt-get could not install: $wanted"
    left=$("$1" | tr '\n' ' ')
    [ -z "$left" ] || die "still missing after apt-get install: $left"
}

venv() {
    stamp=.venv/.installed
    now=$(cksum pyproject.toml)
    if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null; then
        [ "$(cat $stamp 2>/dev/null)" = "$now $(pwd)" ] && return 0
    else
        python=$(find_python) || die "no Python >= 3.11 found: install one, or set PYTHON=/path/to/python3"
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing vrouter and its test tools into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --editable '.[test]' || die "pip could not install vrouter: check the network, or set PIP_INDEX_URL"
    echo "$now $(pwd)" >$stamp
}

own() {
    [ "$(id -u)" = 0 ] && [ -n "${SUDO_UID:-}" ] && [ "$SUDO_UID" != 0 ] || return 0
    find . -xdev -path ./.git -prune -o -user 0 -exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} +
}

case "${1:-}" in
packages | test_packages | venv | own) "$1" ;;
*) die "usage: setup.sh packages|test_packages|venv|own" ;;
esac
