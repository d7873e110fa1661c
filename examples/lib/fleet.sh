# Sourced by `examples/run` and `examples/bench`, after prerequisites.sh: a broker with a private Postgres, and Ruby
# workers, in a folder that goes when the script ends, however it ends.

# Short, because the paths of sockets are.
work=$(mktemp -d /tmp/tasker-XXXXXX)
# Under root, Postgres runs as another user, who must get through to its data.
chmod 711 "$work"
pids=()

cleanup() {
  trap - EXIT INT TERM
  local pid
  # Workers first, so that they can say goodbye; then the broker, which stops its Postgres.
  for pid in "${pids[@]:1}" "${pids[@]:0:1}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM

show_log() {
  tail -n 30 "$work/$1.log" >&2
  fail "$1 did not start; its log is above"
}

# wait_for NAME PID FILE: until FILE is there, or the process has ended.
wait_for() {
  until [ -s "$3" ]; do
    kill -0 "$2" 2>/dev/null || show_log "$1"
    sleep 0.05
  done
}

# A field of what the broker says when it is ready: the first value of a list.
ready_field() { ruby -rjson -e 'puts Array(JSON.parse(File.read(ARGV[0])).fetch(ARGV[1])).first' "$work/ready" "$1"; }

# start_broker TASKER: sets TASKER_BROKER.
start_broker() {
  "$1" up --data "$work/data" --port 0 --ready-file "$work/ready" >"$work/broker.out" 2>"$work/broker.log" &
  pids+=($!)
  wait_for broker "${pids[0]}" "$work/ready"
  TASKER_BROKER=$(ready_field work)
  export TASKER_BROKER
}

# start_worker NAME OPTION...
start_worker() {
  local name=$1
  shift
  ruby bindings/ruby/exe/tasker-worker -b "$TASKER_BROKER" --name "$name" "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
}
