# $1: 0 is the removal of the last version.
[ "$1" -eq 0 ] || exit 0
# A runtime whose configuration names a hook that is gone starts no container. What `tracer hook install` wrote is taken
# back, each file as it was before, and told.
for runtime in podman crio containerd docker; do
    told=$(tracer hook uninstall --runtime "$runtime" --write 2>&1) || {
        echo "tracer: the hook could not be taken out of $runtime; its containers may not start without it:" >&2
        echo "$told" >&2
        continue
    }
    case "$told" in
    "nothing to do"*) ;;
    *)
        echo "tracer: the hook is taken out of $runtime:"
        echo "$told"
        ;;
    esac
done
systemctl --no-reload disable --now tracer-nri.service tracer.service tracer.socket || :
