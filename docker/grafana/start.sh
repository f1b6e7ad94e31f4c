#!/bin/sh
# Starts Grafana's image with an admin password of its own: made once, kept with the database.
#
# Runs in the grafana container as its entrypoint, in busybox's shell; the arguments are the
# program to go on with.  The password is in no environment, log or file of this repository:
#	docker compose exec grafana cat /var/lib/grafana/admin-password
set -eu

file=${GF_PATHS_DATA:-/var/lib/grafana}/admin-password

if [ ! -s "$file" ]; then
	# 18 bytes are 24 characters without padding; moved, so that half a password is never used.
	(umask 077 && head -c 18 /dev/urandom | base64 >"$file.new")
	mv "$file.new" "$file"
	echo "vtap: made an admin password for Grafana; it is in $file" >&2
fi
export GF_SECURITY_ADMIN_PASSWORD__FILE="$file"

exec "$@"
