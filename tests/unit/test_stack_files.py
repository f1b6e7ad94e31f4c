"""What docker/ ships holds together: one configuration twice, one password once, no privilege."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def start_grafana(folder: Path) -> str:
    """Run grafana's entrypoint with a program in its place that shows what it is given."""
    return subprocess.run(
        [
            "sh",
            DOCKER / "grafana" / "start.sh",
            "sh",
            "-c",
            'cat "$GF_SECURITY_ADMIN_PASSWORD__FILE"',
        ],
        env={"PATH": "/usr/bin:/bin", "GF_PATHS_DATA": str(folder)},
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.strip()


def test_the_admin_password_is_made_once(tmp_path: Path) -> None:
    """18 random bytes, the same after a restart, readable by Grafana alone, nowhere else."""
    password = start_grafana(tmp_path)

    assert re.fullmatch(r"[A-Za-z0-9+/]{24}", password)
    assert start_grafana(tmp_path) == password
    assert [path.name for path in tmp_path.iterdir()] == ["admin-password"]
    assert (tmp_path / "admin-password").stat().st_mode & 0o777 == 0o600


def test_each_installation_has_its_own_password(tmp_path: Path) -> None:
    """Two volumes, two passwords."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()

    assert start_grafana(folders[0]) != start_grafana(folders[1])


def test_the_fleet_scrapes_as_one_host_does() -> None:
    """fleet.yml is prometheus.yml and remote_write, line for line."""
    one = (DOCKER / "prometheus" / "prometheus.yml").read_text()
    fleet = (DOCKER / "prometheus" / "fleet.yml").read_text()

    assert (
        fleet[fleet.index("global:") :].split("\nremote_write:")[0] == (one[one.index("global:") :])
    )


def test_nothing_is_privileged_or_open() -> None:
    """No --privileged, no admin API, no anonymous role but Viewer, loopback unless asked."""
    text = (DOCKER / "compose.yaml").read_text()

    assert "privileged" not in text
    assert "admin-api" not in text
    assert "enable-lifecycle" not in text
    assert re.findall(r"ORG_ROLE: (\w+)", text) == ["Viewer"]
    assert set(re.findall(r"_ADDRESS:-([^}]*)}", text)) == {"127.0.0.1"}


def test_images_are_pinned() -> None:
    """Every image that is pulled has a whole version."""
    images = re.findall(r"image: (.+)", (DOCKER / "compose.yaml").read_text())

    assert images.pop() == "vtap-monitor"  # built here
    assert len(images) == 3
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in images)
