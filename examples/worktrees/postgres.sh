#!/bin/sh
# Creates a cluster in the directory $1 on the first start, then becomes the server on port $2.
set -eu
PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root, which people are in containers.
    mkdir -p "$1" && chown postgres "$1"
    as="setpriv --reuid postgres --regid postgres --clear-groups --"
fi
[ -e "$1/PG_VERSION" ] || ${as-} initdb --pgdata "$1" --username postgres --auth trust --no-sync >&2
exec ${as-} postgres -D "$1" -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
