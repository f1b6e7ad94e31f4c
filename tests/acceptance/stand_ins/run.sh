#!/bin/sh
# What Grafana's image does at its start, as far as the compose file has a part in it: reads the
# password, the provisioning and the dashboards, writes its database, answers the health check.
set -eu
data=/var/lib/grafana
cat "$GF_SECURITY_ADMIN_PASSWORD__FILE" >$data/password-read
cat /etc/grafana/provisioning/*/*.yaml >$data/provisioning-read
cat "$GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH" >$data/home-read
env >$data/environment-read
mkdir -p /tmp/www/api
echo ok >/tmp/www/api/health
exec busybox httpd -f -p "$GF_SERVER_HTTP_ADDR:$GF_SERVER_HTTP_PORT" -h /tmp/www
