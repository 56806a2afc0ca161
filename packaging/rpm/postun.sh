# $1: 0 is the removal of the last version, 1 or more an upgrade.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # The socket stays: hooks that come while the daemon restarts wait for it in the socket's queue.
    [ "$1" -eq 0 ] || systemctl try-restart tracer.service tracer-nri.service || :
fi
[ "$1" -eq 0 ] || exit 0
rm -rf /run/tracer /var/lib/tracer /var/log/tracer
# cargo-generate-rpm cannot say that a directory is the package's.
for dir in /usr/share/doc/container-tracer /usr/share/licenses/container-tracer /etc/tracer; do
    find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || :
done
