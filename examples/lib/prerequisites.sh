# Sourced by `examples/run` and `tests/run`: installs what the build and the runs need, or says what to install.
# Knows Debian and Ubuntu; on other systems it only looks.

rust_needed=1.94
cargo_fuzz=0.13.2

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }

# have_version TOOL MINIMUM: whether the version that TOOL prints is at least MINIMUM.
have_version() {
  command -v "$1" >/dev/null 2>&1 || return 1
  local found
  found=$("$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1)
  [ "$(printf '%s\n%s\n' "$2" "$found" | sort -V | head -n 1)" = "$2" ]
}

have_postgres() {
  command -v postgres >/dev/null 2>&1 && return 0
  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1
}

have_gems() {
  local gem
  for gem in "$@"; do
    ruby -e "require '$gem'" >/dev/null 2>&1 || return 1
  done
}

# Adds a package to `missing` unless a check holds: need PACKAGE COMMAND...
need() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

have_faketime() { ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; }

have_libzmq_headers() { [ -e /usr/include/zmq.h ] || [ -e /usr/local/include/zmq.h ]; }

install_missing() {
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo=(sudo)
  fi
  if ! command -v apt-get >/dev/null 2>&1 || { [ "$(id -u)" -ne 0 ] && [ ${#sudo[@]} -eq 0 ]; }; then
    fail "please install, then run this again (Debian names): ${missing[*]}"
  fi
  say "installing: ${missing[*]}"
  # A server package must not start a server of its own: only private ones are used here.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  local log
  log=$(mktemp)
  {
    "${sudo[@]}" apt-get update &&
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}"
  } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "failed to install: ${missing[*]}"
  }
  rm -f "$log"
}

# What a broker and Ruby workers need.
require_runtime() {
  missing=()
  need gcc command -v cc
  need libc6-dev test -e /usr/include/stdio.h
  need libzmq3-dev have_libzmq_headers
  need postgresql have_postgres
  need ruby have_version ruby 3.1
  if command -v ruby >/dev/null 2>&1; then
    need ruby-ffi have_gems ffi
    need ruby-msgpack have_gems msgpack
    need ruby-tomlrb have_gems tomlrb
  else
    missing+=(ruby-ffi ruby-msgpack ruby-tomlrb)
  fi
  install_missing
  have_version cargo "$rust_needed" || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$HOME/.cargo/bin:$PATH"
  have_version cargo "$rust_needed" ||
    fail "Rust $rust_needed or newer is needed and not found; install it with rustup (https://rustup.rs)"
}

# What the tests need on top.
require_test_tools() {
  missing=()
  need ruby-rspec command -v rspec
  need rubocop command -v rubocop
  # Libraries that the gem works with where an application has them.
  need ruby-activesupport have_gems active_support
  need ruby-faraday have_gems faraday
  need yard command -v yard
  # The rounds of chaos: handlers that look into the database, and clocks that jump.
  need ruby-pg have_gems pg
  # What applications enqueue from.
  need ruby-sequel have_gems sequel
  need ruby-rails have_gems rails active_record active_job
  need ruby-bundler command -v bundle
  need faketime have_faketime
  need python3 command -v python3
  need python3-venv python3 -c 'import ensurepip, venv'
  # The dashboard is walked through in a real browser.
  need chromium command -v chromium
  need chromium-driver command -v chromedriver
  # Instructions are counted under it.
  need valgrind command -v valgrind
  install_missing
}

# What looking over units, images and manifests needs on top; the linters themselves are kept under target/.
require_deploy_tools() {
  missing=()
  need binutils command -v objdump
  need git command -v git
  need python3 command -v python3
  need python3-venv python3 -c 'import ensurepip, venv'
  need systemd command -v systemd-analyze
  install_missing
}

# What fuzzing needs on top: a C++ compiler for libFuzzer, and `cargo fuzz`, which is kept under target/.
require_fuzz_tools() {
  missing=()
  need g++ command -v c++
  need python3 command -v python3
  install_missing
  PATH="$PWD/target/tools/bin:$PATH"
  command -v cargo-fuzz >/dev/null 2>&1 || {
    say "installing cargo-fuzz"
    cargo install --quiet --locked --root target/tools --version "$cargo_fuzz" cargo-fuzz
  }
}

# What checks metrics and alerting rules: `promtool`, of Debian's package `prometheus`. The package is unpacked under target/
# and not installed, because installing it starts a server.
require_promtool() {
  PATH="$PWD/target/tools/bin:$PATH"
  command -v promtool >/dev/null 2>&1 && return 0
  command -v apt-get >/dev/null 2>&1 || fail "please install promtool (of Prometheus), then run this again"
  say "fetching promtool"
  local folder
  folder=$(mktemp -d)
  # Downloads are for everybody to read, and apt's own user has to write them.
  chmod 755 "$folder"
  (cd "$folder" && apt-get download prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb .) ||
    fail "failed to fetch the package prometheus; is the list of packages there (apt-get update)?"
  mkdir -p target/tools/bin
  cp "$folder/usr/bin/promtool" target/tools/bin/
  rm -rf "$folder"
}
