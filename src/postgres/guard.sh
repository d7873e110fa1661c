# Becomes the Postgres server, and leaves behind a guard that shuts it down when nobody is left who needs it.
# $1: a file that users of the server lock shared, or empty: then stdin is a pipe that only the parent can write to.
# $2: the cluster; $3...: the server and its arguments.
users=$1 cluster=$2
shift 2
exec 3<&0 </dev/null

guard() {
    trap '' HUP INT TERM
    if [ -z "$users" ]; then
        # A line says that the parent has stopped the server; the end of the file, that the parent is gone.
        read -r _ <&3 && return
    else
        exec 4<"$users" || return
        while flock -x 4 && flock -u 4; do
            sleep 3 # the next test process may be about to start
            flock -x -n 4 && break
        done
        # The server may have ended by itself long ago, and its number be another process's now.
        read -r owner <"$cluster/postmaster.pid" && [ "$owner" = "$1" ] || return
    fi
    kill -INT "$1" || return # fast shutdown: sessions are cut, what is committed is kept
    left=60
    while kill -0 "$1" && [ -f "$cluster/postmaster.pid" ]; do
        [ $left -gt 0 ] || { kill -QUIT "$1"; return; }
        left=$((left - 1))
        sleep 1
    done
}

# Twice in the background: Postgres must not be the parent of a process that it did not start.
( guard $$ >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
