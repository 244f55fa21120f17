#!/usr/bin/env bash
# install.sh [--extras tmc,gphoto2,raw,plots] [--no-start] [SOURCE]
# Installs or upgrades focusd on Raspberry Pi OS or Debian (bookworm, trixie), as root. Run it again to upgrade.
#   SOURCE      a wheel, an sdist or a checkout; without it the checkout that this script lies in
#   --extras    tmc: a TMC2209's serial line; gphoto2: a camera on USB; raw: its raw files; plots: of `focusd calibrate`
#   --no-start  install the unit, but neither enable nor start it
# It makes /opt/focusd (a venv that sees the system's packages), the user focusd, the unit, a udev rule, and, where
# there is none, /etc/focusd/focusd.toml. A running focusd is stopped first and started again at the end.
#
# picamera2 and OpenCV from apt are compiled against the NumPy from apt, and break under any other ("numpy.dtype size
# changed"). So all of them come from apt, and a constraint in the venv's pip.conf pins NumPy to the system's for good.
# Debian's python3-opencv carries no metadata by the name of opencv-python-headless (on trixie it says "opencv", on
# bookworm nothing), so pip would put the wheel's OpenCV over it, and `--no-deps` would leave `pip check` complaining
# for ever. Hence a wheel of that name is made here that holds nothing but the version of the system's OpenCV.
set -euo pipefail
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")/.." && pwd)
venv=/opt/focusd
config=/etc/focusd/focusd.toml
unit=/etc/systemd/system/focusd.service

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit 1; }
usage() { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }

source= extras= start=yes
while [ $# -gt 0 ]; do
  case $1 in
    --extras) [ $# -gt 1 ] || usage; extras=$2; shift ;;
    --extras=*) extras=${1#*=} ;;
    --no-start) start= ;;
    -h | --help) usage ;;
    -*) echo "install.sh: there is no option $1" >&2; usage ;;
    *) [ -z "$source" ] || usage; source=$1 ;;
  esac
  shift
done
: "${source:=$here}"

[ "$(id -u)" = 0 ] || fail "needs root: sudo $0"
command -v apt-get >/dev/null || fail "there is no apt-get here: this is for Raspberry Pi OS and Debian"
[ -e "$source" ] || fail "there is no $source to install: name a wheel, an sdist or a checkout"
source=$(realpath "$source")
[ ! -d "$source" ] || [ -e "$source/pyproject.toml" ] || fail "$source is no checkout of focusd: it has no pyproject.toml"
for file in systemd/focusd.service systemd/60-focusd-gpio.rules config/focusd.toml; do
  [ -e "$here/$file" ] || fail "$here/$file is missing: run this script where it lies in a checkout or unpacked sdist"
done
[ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] ||
  fail "$venv exists and is no venv: move it away, the unit wants focusd there"

# -- what comes from apt
needed=(python3 python3-venv python3-numpy python3-opencv libturbojpeg0)
case $source in *.whl) ;; *) needed+=(gcc libc6-dev) ;; esac # for the compiled loops; a wheel brings them
# Raspberry Pi OS has the first three, Debian does not, or not all.
wanted=(python3-picamera2 python3-libcamera python3-lgpio python3-gpiozero python3-tqdm)
for extra in ${extras//,/ }; do
  case $extra in
    tmc) needed+=(python3-serial) ;;
    gphoto2) needed+=(python3-gphoto2) ;; # with libgphoto2's udev rules, even where pip then finds it too old
    raw) wanted+=(python3-rawpy) ;;
    plots) needed+=(python3-matplotlib) ;;
    *) fail "there is no extra \"$extra\": take of tmc, gphoto2, raw and plots" ;;
  esac
done
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
offered() { [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[!\(]* ]]; }
# For gpio = "rpigpio". The two exclude each other; a Pi 5 can only do with rpi-lgpio.
installed python3-rpi-lgpio || installed python3-rpi.gpio || wanted+=(python3-rpi-lgpio)

missing=()
for package in "${needed[@]}"; do installed "$package" || missing+=("$package"); done
absent=()
for package in "${wanted[@]}"; do installed "$package" || absent+=("$package"); done
if [ $((${#missing[@]} + ${#absent[@]})) -gt 0 ]; then
  apt-get -qq update || say "apt could not read every list; going on with what it has"
  for package in "${absent[@]}"; do
    if offered "$package"; then missing+=("$package"); else say "no $package in this archive; going on without"; fi
  done
fi
if [ ${#missing[@]} -gt 0 ]; then
  say "from apt: ${missing[*]}"
  log=$(mktemp)
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "apt could not install ${missing[*]}: is this machine on the network? (all of it: $log)"
  }
  rm -f "$log"
fi
python=/usr/bin/python3 # apt's packages are for this one
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "focusd needs Python 3.11 or later, this system has $("$python" -V): use bookworm or later"

# -- a running focusd must not meet half of another version
booted() { [ -d /run/systemd/system ]; }
was_active=
work=$(mktemp -d)
end() {
  local code=$?
  rm -rf "$work"
  if [ $code != 0 ] && [ -n "$was_active" ]; then
    say "it failed; starting the focusd that was stopped for it"
    systemctl start focusd.service || say "it does not start: journalctl -u focusd"
  fi
}
trap end EXIT
if booted && systemctl -q is-active focusd.service; then
  was_active=yes
  say "stopping focusd (a running stack ends with the picture of what there is)"
  systemctl stop focusd.service
fi

# -- the venv
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 # root's own packages are not the daemon's
pip() { "$venv/bin/python" -m pip -q "$@"; }
lies() { "$venv/bin/python" -c 'import importlib.util, sys; print(getattr(importlib.util.find_spec(sys.argv[1]), "origin", ""))' "$1"; }
series() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
if [ "$(series "$venv/bin/python")" != "$(series "$python")" ] ||
  ! grep -qi '^include-system-site-packages *= *true' "$venv/pyvenv.cfg"; then
  "$python" -m venv --system-site-packages --clear "$venv" || fail "no venv could be made in $venv"
fi
# From an install by hand: pip's own copies, which hide the system's.
for name in numpy cv2; do
  case $(lies $name) in "$venv"/*) pip uninstall -y numpy opencv-python-headless opencv-python; break ;; esac
done
for name in numpy cv2; do
  case $(lies $name) in
    /usr/lib/python3/*) ;;
    *) fail "$(lies $name) hides the system's $name, for which picamera2 was compiled; remove it:" \
      "sudo $python -m pip uninstall --break-system-packages numpy opencv-python opencv-python-headless" ;;
  esac
done

stand_in=$("$venv/bin/python" - "$work" <<'PYTHON'
import re, sys, zipfile
from pathlib import Path
import cv2

version = re.match(r"\d+(\.\d+)*", cv2.__version__).group()
info = f"opencv_python_headless-{version}.dist-info"
files = {
    "METADATA": f"Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: {version}\n"
    "Summary: Stands for the system's python3-opencv; made by focusd's install.sh\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: focusd install.sh\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
files["RECORD"] = "".join(f"{info}/{name},,\n" for name in (*files, "RECORD"))
wheel = Path(sys.argv[1], f"opencv_python_headless-{version}-py3-none-any.whl")
with zipfile.ZipFile(wheel, "w") as archive:
    for name, text in files.items():
        archive.writestr(f"{info}/{name}", text)
print(wheel)
PYTHON
)
"$venv/bin/python" - >"$venv/constraints.txt" <<'PYTHON'
import re
import cv2, numpy

print(f"numpy=={numpy.__version__}")
print("opencv-python-headless==" + re.match(r"\d+(\.\d+)*", cv2.__version__).group())
print("lgpio>=0.2  # where pip finds no wheel for this Python it would take 0.0.0.2, which is another thing")
PYTHON
printf '[install]\nconstraint = %s/constraints.txt\n' "$venv" >"$venv/pip.conf"

no_pip="pip could not do it, its reason is above: is this machine on the network?"
case $source in
  *.whl) wheel=$source ;;
  *)
    say "building $source"
    PYTHONDONTWRITEBYTECODE=1 pip wheel --no-deps -w "$work/wheel" "$source" || fail "$no_pip"
    wheel=$(echo "$work"/wheel/focusd-*.whl)
    ;;
esac
say "into $venv: focusd${extras:+ with $extras}"
pip install --no-deps --no-index "$stand_in"
pip install "$wheel${extras:+[$extras]}" || fail "$no_pip"
# The same version may be other code.
pip install --no-deps --no-index --force-reinstall "$wheel"
if [ -z "$(lies lgpio)" ]; then
  pip install --only-binary :all: 'lgpio>=0.2' >/dev/null 2>&1 ||
    say "neither apt nor pip has lgpio for this Python: focusd fuses here, but drives no pins"
fi
case $(lies numpy) in /usr/lib/python3/*) ;; *) fail "NumPy is not the system's but $(lies numpy): remove $venv and run this again" ;; esac
"$venv/bin/python" -m pip check >"$work/check" || say "pip check says: $(cat "$work/check")"
if installed python3-picamera2; then
  "$venv/bin/python" -c 'import picamera2' 2>"$work/picamera2" ||
    say "picamera2 cannot be imported: $(tail -n 1 "$work/picamera2")"
fi

# -- user, rule, configuration, unit
for group in gpio video dialout plugdev; do getent group $group >/dev/null || groupadd --system $group; done
getent passwd focusd >/dev/null ||
  useradd --system --user-group --home-dir /var/lib/focusd --no-create-home --shell /usr/sbin/nologin focusd
usermod --append --groups gpio,video,dialout,plugdev focusd
install -D -m 644 "$here/systemd/60-focusd-gpio.rules" /etc/udev/rules.d/60-focusd-gpio.rules
if [ -S /run/udev/control ]; then
  udevadm control --reload && udevadm trigger --subsystem-match=gpio || say "udev did not take its rule; restart the Pi"
fi
[ -e "$config" ] || install -D -m 644 "$here/config/focusd.toml" "$config"
if [ -e "$unit" ] && ! cmp -s "$here/systemd/focusd.service" "$unit"; then
  cp -p "$unit" "$unit.before"
  say "$unit is replaced, what it was is in $unit.before; keep your own lines by: systemctl edit focusd"
fi
install -D -m 644 "$here/systemd/focusd.service" "$unit"

# -- start
"$venv/bin/focusd" --version
ready=yes
"$venv/bin/focusd" check "$config" || ready=
if [ -n "$start" ] && booted; then
  systemctl daemon-reload
  systemctl -q enable focusd.service
  if [ -z "$ready" ]; then
    say "not started: correct $config, then: sudo systemctl start focusd"
  elif cmp -s "$here/config/focusd.toml" "$config"; then
    # Its pins are not this rig's.
    say "not started: $config is still the example; make it yours, then: sudo systemctl start focusd"
  else
    was_active=
    systemctl start focusd.service || fail "focusd did not start: journalctl -u focusd"
    say "focusd runs"
  fi
elif [ -n "$was_active" ]; then
  say "focusd was running and is stopped now: sudo systemctl start focusd"
fi
installed mosquitto || say "no broker here; if it shall be this machine: sudo apt install mosquitto"
[ ! -d /etc/mosquitto ] || say "where mosquitto has an access list, focusd's user wants: topic readwrite focusd/#"
