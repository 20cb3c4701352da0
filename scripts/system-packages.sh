#!/bin/sh
# Installs the system packages that lipwire's tests need, or its virtual environment, where this is root and has apt;
# elsewhere it names the command to type. What is there already, from whatever source, is left alone. Asks nothing.
#
#   scripts/system-packages.sh tests     Chromium, PortAudio, a sound server for a null device, FFmpeg, eSpeak NG,
#                                        flite, Node.js, Prometheus
#   scripts/system-packages.sh venv      what `python3 -m venv` needs; `make run` needs nothing else
set -eu

has() { command -v "$1" >/dev/null 2>&1; }

has_library() { # /sbin is not in every user's PATH
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q "$1"
}

has_alsa_plugin() {
    find /usr/lib /usr/lib64 -path '*alsa-lib/libasound_module_pcm_pulse.so' 2>/dev/null | grep -q .
}

missing=""
need() { missing="$missing $1"; }

case "${1:-}" in
tests)
    has chromium || has chromium-browser || has google-chrome || need chromium
    has_library 'libportaudio\.so\.2' || need libportaudio2
    has pulseaudio || need pulseaudio
    has pactl || need pulseaudio-utils
    has_alsa_plugin || need libasound2-plugins
    has ffmpeg || need ffmpeg
    has prometheus || need prometheus
    has espeak-ng || need espeak-ng
    has flite || need flite
    has node || need nodejs
    has npm || need npm
    ;;
venv)
    "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null ||
        need "$("${PYTHON:-python3}" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

[ -n "$missing" ] || exit 0

if ! has apt-get; then
    echo "lipwire: not found here:$missing (Debian's names); install them with this system's package manager" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "lipwire: some system packages are missing. Type:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y$missing" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "lipwire: installing$missing" >&2
apt-get update -q </dev/null
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing </dev/null
