# $1: 1 is an installation, 2 or more an upgrade.
systemd-sysusers tracer.conf || :
systemd-tmpfiles --create tracer.conf || :
if [ "$1" -eq 1 ]; then
    # Enabled where the distribution's or the administrator's presets say so.
    systemctl --no-reload preset tracer.socket tracer.service tracer-nri.service || :
fi
