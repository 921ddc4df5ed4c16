#!/usr/bin/env bash
# Installs Cygni on this machine, or brings an installation to this version. Run it again at any time: what is done
# already is left alone. Debian 12 and 13 (Ubuntu 24.04: best effort) with systemd, as root. See docs/install.md.
set -euo pipefail
cd "$(dirname "$0")"
export PATH="/usr/local/sbin:/usr/sbin:/sbin:$PATH" LC_ALL=C.UTF-8
umask 022

usage() {
  cat <<'TEXT'
Usage: sudo ./install.sh [OPTION…]

  --domain NAME       apps answer at APP.NAME (default: localhost, for a first look on this machine)
  --key FILE|TEXT     public key of the first admin; asked for on a terminal where no admin has one
  --key-name NAME     what that key is called (default: admin)
  --http-port PORT    where visitors come in (default: 80)
  --ssh-port PORT     where git and commands come in (default: 2222)
  --bind ADDRESS      on one address only (default: on all)
  --no-stack          leave the base images to later (`cygni stack:build`); the first push then needs root's help
  --restart-engine    allow a restart of a container engine that runs containers, where its settings must change
  --check             check and print the plan, change nothing
  --yes               do not ask before it starts
  --uninstall         remove the program and its units; data stays
  --purge             with --uninstall: remove data, settings and images too
TEXT
}

PREFIX=/opt/cygni
DATA=/var/lib/cygni
SETTINGS=/etc/cygni/environment
UNITS=/etc/systemd/system
PROGRAM=/usr/local/bin/cygni
DAEMON=/etc/docker/daemon.json
SOCKET=/var/run/docker.sock
UNIT_FILES=(cygni.target cygni.service cygni-router.service cygni-router.socket cygni-ssh.socket
  cygni-metadata.service cygni.slice cygni-apps.slice cygni-build.slice)
PACKAGES=(docker.io git openssh-client curl mmdebstrap debian-archive-keyring iptables tini python3 python3-venv util-linux iproute2)
DISK_MIB=6000
MEMORY_MIB=900
LIMIT=90

domain= key= key_name=admin http_port= ssh_port= bind= stack=yes restart_engine=no mode=install ask=yes purge=no

step() { printf -- '-----> %s\n' "$*"; }
tell() { printf '       %s\n' "$*"; }
warn() { printf ' !     %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

read_options() {
  while [ "$#" -gt 0 ]; do
    case $1 in
      --domain|--key|--key-name|--http-port|--ssh-port|--bind)
        [ "$#" -gt 1 ] || { usage >&2; die "$1 needs a value"; }
        local name=${1#--}; printf -v "${name//-/_}" '%s' "$2"; shift ;;
      --no-stack) stack=no ;;
      --restart-engine) restart_engine=yes ;;
      --check) mode=check ;;
      --uninstall) mode=uninstall ;;
      --purge) purge=yes ;;
      --yes) ask=no ;;
      --help|-h) usage; exit 0 ;;
      *) usage >&2; die "unknown option $1" ;;
    esac
    shift
  done
}

# --- what is there ---------------------------------------------------------------------------------------------------

setting() { [ ! -r "$SETTINGS" ] || sed -n "s/^$1=//p" "$SETTINGS" | tail -n 1; }
active() { systemctl is-active --quiet "$1" 2>/dev/null; }
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
engine() { curl -fsS --max-time 30 --unix-socket "$SOCKET" "http://engine$1"; }

# Named by its content: another state of the sources is another version.
version() {
  local base hash
  base=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
  hash=$(find config gitserver buildpacks deployer router cygni systemd docs requirements.lock pyproject.toml -type f \
    ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
  printf '%s-%s' "$base" "$hash"
}

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    case $package in
      docker.io) has dockerd || echo docker.io ;;  # whoever packaged it
      tini) has docker-init || has tini || echo tini ;;
      *) installed "$package" || echo "$package" ;;
    esac
  done
}

# Steps of a build go where the engine's default is, if that is a path. With systemd's driver they do not (they get a
# cgroup that is merely called after the slice), so then nothing is gained by changing the default.
builds_can_have_a_slice() { engine /info 2>/dev/null | grep -q '"CgroupDriver":"cgroupfs"'; }
engine_settings_missing() {
  builds_can_have_a_slice && ! grep -qs '"cgroup-parent"' "$DAEMON"
}

someone_has_a_key() {
  [ -e "$DATA/cygni.db" ] && [ -x "$PROGRAM" ] && [ -n "$("$PROGRAM" keys --all 2>/dev/null | tail -n +2)" ]
}

# --- checks ----------------------------------------------------------------------------------------------------------

problems=()
problem() { problems+=("$*"); }

check_system() {
  local system
  system=$(. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}") || system=unknown
  case $system in
    debian-12|debian-13) ;;
    ubuntu-24.04) warn "Ubuntu 24.04 is supported as well as we can; Debian 12 and 13 are what is tested." ;;
    *) problem "This is $system; Debian 12 or 13 is needed (Ubuntu 24.04: best effort)." ;;
  esac
  [ -d /run/systemd/system ] || problem "systemd does not run here. Without it, script/demo and \`cygni serve\` still work."
  has apt-get || problem "There is no apt-get here to install packages with."
}

check_room() {
  local free memory
  free=$(df --output=avail -m "$(dirname "$DATA")" | tail -n 1)
  memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  [ -e "$DATA/cygni.db" ] || [ "$free" -ge "$DISK_MIB" ] ||
    problem "$(dirname "$DATA") has $free MiB free; base images and builds need $DISK_MIB."
  [ "$memory" -ge "$MEMORY_MIB" ] || problem "This machine has $memory MiB of memory; $MEMORY_MIB are needed."
}

check_port() {  # PORT SOCKET-UNIT WHAT
  if ! [[ $1 =~ ^[0-9]+$ ]] || [ "$1" -lt 1 ] || [ "$1" -gt 65535 ]; then
    problem "$3 port $1 is not a port."
  elif { ! active "$2" || [ "$1" != "$(setting "CYGNI_$3_PORT")" ]; } && has ss && [ -n "$(ss -Hltn "sport = :$1")" ]; then
    problem "Port $1 ($3) is taken by $(ss -Hltnp "sport = :$1" | sed -n 's/.*users:(("\([^"]*\)".*/\1/p' | sort -u | head -n 1): stop that, or choose another with --${3,,}-port."
  fi
}

check_key() {
  [ -n "$key" ] || return 0
  if [ -e "$key" ]; then key=$(cat "$key"); fi
  case $key in
    *"PRIVATE KEY"*) problem "--key is a private key. Keep it to yourself, and give the .pub file." ;;
    ssh-*|ecdsa-*|sk-*) ;;
    *) problem "--key is neither a file nor a public key: ${key:0:60}" ;;
  esac
}

check_settings() {
  [[ $domain =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]] || problem "--domain $domain is not a domain name."
  [[ $key_name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || problem "--key-name $key_name is not a name."
  if [ -e "$DATA" ] && id cygni >/dev/null 2>&1 && [ "$(stat -c %U "$DATA")" != cygni ]; then
    problem "$DATA belongs to $(stat -c %U "$DATA"), not to cygni: chown it, or move it away."
  fi
}

check_engine() {
  [ "$restart_engine" = no ] && engine_settings_missing || return 0
  if [ "$(engine '/containers/json' 2>/dev/null || echo '[]')" != '[]' ]; then
    problem "The container engine runs containers, and must be restarted to give builds a slice: add --restart-engine."
  fi
}

check() {
  check_system
  check_room
  check_port "$http_port" cygni-router.socket HTTP
  check_port "$ssh_port" cygni-ssh.socket SSH
  check_settings
  check_key
  check_engine
  [ "${#problems[@]}" -eq 0 ] && return
  warn "Nothing was changed. What has to be settled first:"
  for each in "${problems[@]}"; do warn "  - $each"; done
  exit 1
}

plan() {
  local packages
  packages=$(missing_packages | tr '\n' ' ')
  step "Plan for Cygni $VERSION"
  tell "packages     ${packages:-all there}"
  tell "engine       $(has dockerd && echo 'the Docker engine that is here' || echo 'Docker, from the distribution')$(engine_settings_missing && echo ", builds in cygni-build.slice ($DAEMON)" || true)"
  tell "user         cygni$(id cygni >/dev/null 2>&1 && echo ' (there)' || true)"
  tell "program      $PREFIX/$VERSION$([ -e "$PREFIX/$VERSION/complete" ] && echo ' (there)' || true), command $PROGRAM"
  tell "state        $DATA, settings in $SETTINGS"
  tell "visitors     http://APP.$domain, port $http_port${bind:+ on $bind}"
  tell "git and SSH  port $ssh_port${bind:+ on $bind}"
  tell "units        cygni.target with ${UNIT_FILES[*]:1}"
  tell "base images  $([ "$stack" = yes ] && { [ -e stack.tar ] && echo 'from this bundle' || echo 'made from Debian packages where missing (minutes)'; } || echo 'later')"
  tell "first key    ${key:+$key_name, an admin}$([ -n "$key" ] || { someone_has_a_key && echo 'there' || echo 'asked for'; })"
}

confirm() {
  local answer
  [ "$ask" = yes ] && [ -t 0 ] || return 0
  read -r -p "Go on? [y/N] " answer
  [[ $answer == [yY]* ]] || die "Nothing was changed."
}

# --- steps -----------------------------------------------------------------------------------------------------------

install_packages() {
  local wanted
  mapfile -t wanted < <(missing_packages)
  [ "${#wanted[@]}" -gt 0 ] || return 0
  step "Packages: ${wanted[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
}

# `put FILE TARGET [MODE]`: only where it differs; says whether it did.
put() {
  if [ -e "$2" ] && cmp -s "$1" "$2"; then return 1; fi
  install -D -m "${3:-644}" "$1" "$2"
}

install_account() {
  put systemd/cygni.sysusers /etc/sysusers.d/cygni.conf || true
  put systemd/cygni.tmpfiles /etc/tmpfiles.d/cygni.conf || true
  systemd-sysusers cygni.conf
  systemd-tmpfiles --create cygni.conf
}

# Keeps what people wrote there; only what was asked for on this command line, or is missing, changes.
write_settings() {
  local new
  new=$(mktemp)
  { [ -e "$SETTINGS" ] && cat "$SETTINGS" || echo "# Settings of Cygni: one CYGNI_…=value a line; docs/reference/settings.md lists them."; } >"$new"
  set_line "$new" CYGNI_DOMAIN "$domain"
  set_line "$new" CYGNI_BIND "${bind:-0.0.0.0}"
  set_line "$new" CYGNI_SSH_PORT "$ssh_port"
  set_line "$new" CYGNI_HTTP_PORT "$http_port"
  set_line "$new" CYGNI_CGROUP_PARENT cygni-apps.slice
  if put "$new" "$SETTINGS" 640; then changed=yes; chgrp cygni "$SETTINGS"; fi
  rm -f "$new"
}

set_line() {  # FILE NAME VALUE
  grep -q "^$2=" "$1" || { printf '%s=%s\n' "$2" "$3" >>"$1"; return; }
  sed -i "s|^$2=.*|$2=$3|" "$1"
}

install_units() {  # FOLDER
  local unit
  for unit in "${UNIT_FILES[@]}"; do
    if [ -e "$1/$unit" ] && put "$1/$unit" "$UNITS/$unit"; then changed=yes; fi
  done
  listen cygni-router.socket "$http_port"
  listen cygni-ssh.socket "$ssh_port"
  systemctl daemon-reload
}

listen() {  # SOCKET-UNIT PORT
  local new
  new=$(mktemp)
  printf '# Written by install.sh; change it by running that again.\n[Socket]\nListenStream=\nListenStream=%s\n' "${bind:+$bind:}$2" >"$new"
  if put "$new" "$UNITS/$1.d/listen.conf"; then changed=yes sockets_changed=yes; fi
  rm -f "$new"
}

start_engine() {
  systemctl enable --quiet --now docker.service
  engine /_ping >/dev/null || die "The container engine does not answer: journalctl -u docker"
  engine_settings_missing || return 0
  step "Engine: builds run in cygni-build.slice"
  mkdir -p "$(dirname "$DAEMON")"
  python3 - "$DAEMON" <<'PYTHON'
import json, os, sys
path = sys.argv[1]
known = json.load(open(path)) if os.path.exists(path) and os.path.getsize(path) else {}
known["cgroup-parent"] = "/cygni.slice/cygni-build.slice"
with open(path + ".new", "w") as file:
    file.write(json.dumps(known, indent=2) + "\n")
os.replace(path + ".new", path)
PYTHON
  systemctl restart docker.service
}

install_program() {
  local target=$PREFIX/$VERSION
  if [ ! -e "$target/complete" ]; then
    step "Program: $target ($(python3 -V))"
    rm -rf "$target"
    mkdir -p "$target"
    cp -r systemd docs "$target/"
    make_environment "$target"
    touch "$target/complete"
  fi
}

switch_to() {  # VERSION
  ln -sfn "$1" "$PREFIX/current.new"
  mv -T "$PREFIX/current.new" "$PREFIX/current"  # in one step: no moment without a version
  changed=yes
}

make_environment() {
  local work pip=("$1/.venv/bin/python" -m pip --disable-pip-version-check --no-cache-dir install -q --no-compile)
  work=$(mktemp -d)
  [ ! -d wheels ] || pip+=(--no-index --find-links "$PWD/wheels")
  { python3 -V; python3 script/runtime_requirements.py; } >"$1/requirements.txt"
  if cmp -s "$1/requirements.txt" "$PREFIX/current/requirements.txt"; then
    # The same packages for the same Python are there already: hard links, which pip breaks where it writes.
    python3 -m venv --without-pip "$1/.venv"
    cp -al "$PREFIX/current/.venv/lib/." "$1/.venv/lib/"
  else
    python3 -m venv "$1/.venv"
    tail -n +2 "$1/requirements.txt" >"$work/requirements.txt"
    "${pip[@]}" --require-hashes -r "$work/requirements.txt"
  fi
  mkdir "$work/source"
  cp -r pyproject.toml README.md LICENSE config gitserver buildpacks deployer router cygni "$work/source/"
  "${pip[@]}" --force-reinstall --no-deps --no-build-isolation "$work/source"
  "$1/.venv/bin/python" -m compileall -q -j 0 "$1/.venv" >/dev/null || true
  rm -rf "$work"
}

# The command line with the service's settings and account, for root's shell.
write_program() {
  local new
  new=$(mktemp)
  cat >"$new" <<'SHELL'
#!/bin/sh
# Cygni's command line on the server: the words of `ssh cygni`, with the service's settings. Written by install.sh.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -- "$0" "$@"
set -a
CYGNI_DATA=/var/lib/cygni PYTHONSAFEPATH=1
[ ! -r /etc/cygni/environment ] || . /etc/cygni/environment
set +a
real=/opt/cygni/current/.venv/bin/cygni
cd /
case ${1:-} in
  stack:build) status=0; "$real" "$@" || status=$?; find "$CYGNI_DATA" -maxdepth 1 -user root -name '*.lock' -exec chown -h cygni: {} +; exit $status ;;
  *) exec setpriv --reuid=cygni --regid=cygni --init-groups -- "$real" "$@" ;;
esac
SHELL
  put "$new" "$PROGRAM" 755 || true
  rm -f "$new"
}

seed_stack() {
  [ "$stack" = yes ] || return 0
  if [ -e stack.tar ] && ! engine /images/cygni-stack/debian-bookworm:build/json >/dev/null 2>&1; then
    step "Base images: from this bundle"
    curl -fsS --unix-socket "$SOCKET" -X POST -H 'Content-Type: application/x-tar' -T stack.tar http://engine/images/load >/dev/null
  fi
  step "Base images"
  # By the version that is to come: if it cannot, nothing has changed yet.
  (
    set -a; . "$SETTINGS"; CYGNI_DATA=$DATA PYTHONSAFEPATH=1; set +a
    "$PREFIX/$VERSION/.venv/bin/cygni" stack:build bookworm
  )
  find "$DATA" -maxdepth 1 -user root -name '*.lock' -exec chown -h cygni: {} +
}

add_key() {
  local said
  if [ -z "$key" ] && ! someone_has_a_key && [ -t 0 ]; then
    read -r -p "Public key of the first admin (a file, or the line itself; empty for later): " key
    check_key
    [ "${#problems[@]}" -eq 0 ] || die "${problems[0]} Add it with: cygni keys:add NAME --admin < key.pub"
  fi
  if [ -z "$key" ]; then
    someone_has_a_key || warn "Nobody has a key yet: cygni keys:add NAME --admin < key.pub"
    return 0
  fi
  if said=$("$PROGRAM" keys:add "$key_name" --admin <<<"$key" 2>&1); then
    step "Key: $key_name, an admin"
  elif "$PROGRAM" keys --all | grep -qF "$(ssh-keygen -lf /dev/stdin <<<"$key" | cut -d' ' -f2)"; then
    tell "The key is known already."
  else
    die "The key was not added: $said"
  fi
}

start() {
  step "Starting"
  systemctl enable --quiet "${UNIT_FILES[@]:0:6}"
  [ "$sockets_changed" = no ] || systemctl stop cygni-router.socket cygni-ssh.socket cygni-router.service cygni.service 2>/dev/null || true
  local unit running=()
  for unit in cygni-router.service cygni.service; do if active "$unit"; then running+=("$unit"); fi; done
  systemctl reset-failed 'cygni*' 2>/dev/null || true
  # What fails to start is told by the health check.
  systemctl start cygni.target cygni-metadata.service cygni-router.service cygni.service || true
  if [ "$changed" = yes ] && [ "${#running[@]}" -gt 0 ]; then systemctl restart "${running[@]}" || true; fi
}

# A version that does not become healthy gives way to the one that was.
go_back() {
  if [ -z "$former" ] || [ "$former" = "$VERSION" ] || [ ! -e "$PREFIX/$former/complete" ]; then
    die "Installed, but not healthy."
  fi
  warn "Cygni $VERSION is not healthy: going back to $former."
  switch_to "$former"
  install_units "$PREFIX/$former/systemd"
  start
  healthy || die "Cygni $former is not healthy either."
  die "Cygni $former runs again; nothing else was changed."
}

# The last one stays: what it started may still run, and it can be gone back to.
remove_old_versions() {
  local old
  for old in $(ls -1t "$PREFIX" | grep -vxe current -e "$VERSION" | tail -n +2); do rm -rf "${PREFIX:?}/$old"; done
}

# --- health ----------------------------------------------------------------------------------------------------------

healthy() {
  local unit failed=no address=${bind:-127.0.0.1}
  for unit in docker.service cygni-metadata.service cygni-router.service cygni.service; do
    active "$unit" || { failed=yes; warn "$unit does not run: journalctl -u $unit"; }
  done
  [ "$failed" = no ] || return 1
  eventually answers_http "$address" || { failed=yes; warn "No answer on HTTP port $http_port: journalctl -u cygni-router"; }
  eventually answers_ssh "$address" || { failed=yes; warn "No answer on SSH port $ssh_port: journalctl -u cygni"; }
  "$PROGRAM" apps >/dev/null 2>&1 || { failed=yes; warn "The control plane does not answer: journalctl -u cygni"; }
  [ "$failed" = no ]
}

eventually() {
  local deadline=$((SECONDS + LIMIT))
  until "$@"; do [ "$SECONDS" -lt "$deadline" ] || return 1; sleep 0.2; done
}

# Any answer will do: no app is there yet, and the router says so.
answers_http() { [ "$(curl -s --max-time 5 -o /dev/null -w '%{http_code}' -H "Host: health.$domain" "http://$1:$http_port/")" != 000 ]; }
answers_ssh() { [ -n "$(ssh-keyscan -T 5 -t ed25519 -p "$ssh_port" "$1" 2>/dev/null)" ]; }

farewell() {
  step "Cygni $VERSION runs"
  "$PROGRAM" doctor || warn "What doctor calls a problem wants settling; Cygni runs meanwhile."
  if [ "$domain" != localhost ]; then
    getent ahosts "any-app.$domain" >/dev/null ||
      warn "*.$domain does not resolve yet: add a DNS record  *.$domain  A  (this machine's address)."
  fi
  tell "From a laptop, in any repository:"
  tell "  git remote add cygni ssh://cygni@$domain:$ssh_port/myapp && git push cygni main"
  tell "On this machine: cygni help"
}

# --- removal ---------------------------------------------------------------------------------------------------------

uninstall() {
  step "Removing Cygni$([ "$purge" = yes ] && echo ' and its data' || echo "; $DATA, $SETTINGS and images stay")"
  confirm
  systemctl disable --quiet --now "${UNIT_FILES[@]:0:6}" 2>/dev/null || true
  systemctl stop cygni-router.service cygni.service 2>/dev/null || true
  remove_from_engine
  local unit
  for unit in "${UNIT_FILES[@]}"; do rm -rf "${UNITS:?}/$unit" "$UNITS/$unit.d"; done
  rm -rf "$PROGRAM" "$PREFIX" /etc/sysusers.d/cygni.conf /etc/tmpfiles.d/cygni.conf
  systemctl daemon-reload
  [ "$purge" = no ] || {
    rm -rf "$DATA" "$(dirname "$SETTINGS")"
    userdel cygni 2>/dev/null || true
  }
  tell "Packages, the container engine and its setting in $DAEMON were left as they are."
}

# Containers are made anew from the state; images are not, so they go with the state only.
remove_from_engine() {
  local python=$PREFIX/current/.venv/bin/python
  [ -x "$python" ] && [ -e "$DATA/cygni.db" ] || return 0
  PURGE=$purge DATABASE=$DATA/cygni.db "$python" -P - <<'PYTHON' || warn "What Cygni left on the engine could not be removed."
import os, sqlite3, docker
with sqlite3.connect(os.environ["DATABASE"]) as database:
    (identity,) = database.execute("SELECT identity FROM server").fetchone()
client, mine = docker.from_env(), {"label": f"cygni.server={identity}"}
for container in client.containers.list(all=True, filters=mine):
    container.remove(force=True)
for network in client.networks.list(filters=mine):
    network.remove()
if os.environ["PURGE"] == "yes":
    for image in client.images.list(filters=mine):
        client.images.remove(image.id, force=True)
PYTHON
}

main() {
  read_options "$@"
  [ "$(id -u)" -eq 0 ] || die "This needs root: sudo ./install.sh"
  changed=no sockets_changed=no
  if [ "$mode" = uninstall ]; then uninstall; return; fi
  domain=${domain:-$(setting CYGNI_DOMAIN)} http_port=${http_port:-$(setting CYGNI_HTTP_PORT)}
  ssh_port=${ssh_port:-$(setting CYGNI_SSH_PORT)}
  bind=${bind:-$(setting CYGNI_BIND)}
  [ "$bind" != 0.0.0.0 ] || bind=
  domain=${domain:-localhost} http_port=${http_port:-80} ssh_port=${ssh_port:-2222}
  VERSION=$(version) former=$(readlink "$PREFIX/current" 2>/dev/null || true)
  check
  plan
  if [ "$mode" = check ]; then return; fi
  confirm
  install_packages
  install_account
  write_settings
  install_program
  start_engine
  seed_stack
  write_program
  if [ "$former" != "$VERSION" ]; then switch_to "$VERSION"; fi
  install_units systemd
  start
  healthy || go_back
  remove_old_versions
  add_key
  farewell
}

main "$@"
