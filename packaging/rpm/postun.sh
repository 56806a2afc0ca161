# $1: 0 is the removal of the last version, 1 or more an upgrade.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # The socket stays: hooks that come while the daemon restarts wait for it in the socket's queue.
    [ "$1" -eq 0 ] || systemctl try-restart tracer.service tracer-nri.service || :
fi
[ "$1" -ne 0 ] || rm -rf /run/tracer /var/lib/tracer /var/log/tracer
