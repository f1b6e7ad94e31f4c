"""The rule of the tiers, and the namespaces that tests share the shape of.

A test under kernel, netns or acceptance that misses what it needs is skipped with the reason; where
the environment says CI=true or VTAP_REQUIRE_KERNEL=1 it fails instead, so that green never means
skipped.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.support.netns import Namespace, Veth, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

TIERS_IN_THE_KERNEL = {"kernel", "netns", "acceptance", "appliance"}
TESTS = Path(__file__).resolve().parent
CAP_SYS_ADMIN = 21  # linux/capability.h


class MissingTier(pytest.Module):
    """A test file whose tier cannot run here; it is never imported, since its imports may be what
    is missing.
    """

    def collect(self) -> NoReturn:
        """Skip or fail the whole file."""
        tier = tier_of(self.path)
        reason = f"tests/{tier} needs {', '.join(missing_for_kernel_tests())}"
        if kernel_tests_required(
            os.environ.get("CI", ""), os.environ.get("VTAP_REQUIRE_KERNEL", "")
        ):
            pytest.fail(
                f"{reason}; a skip is not allowed here (CI=true or VTAP_REQUIRE_KERNEL=1)",
                pytrace=False,
            )
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Put a MissingTier in the place of a test file that cannot run; None leaves it to pytest."""
    if tier_of(module_path) in TIERS_IN_THE_KERNEL and missing_for_kernel_tests():
        module: pytest.Module = MissingTier.from_parent(parent, path=module_path)
        return module
    return None


def tier_of(path: Path) -> str:
    """Name the folder below tests that a file is in."""
    return path.relative_to(TESTS).parts[0]


def kernel_tests_required(ci: str, require_kernel: str) -> bool:
    """Say whether a skip would hide something; takes the values of CI and VTAP_REQUIRE_KERNEL."""
    return ci == "true" or require_kernel == "1"


def missing_for_kernel_tests() -> list[str]:
    """List what this machine lacks; empty where kernel tests can run."""
    status = Path("/proc/self/status").read_text()
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    needs = {
        "root (CAP_SYS_ADMIN)": capabilities is not None
        and int(capabilities[1], 16) >> CAP_SYS_ADMIN & 1,
        "BCC for this Python (python3-bpfcc)": importlib.util.find_spec("bcc"),
        "scapy (python3-scapy)": importlib.util.find_spec("scapy"),
        "ip (iproute2)": shutil.which("ip"),
    }
    return [name for name, found in needs.items() if not found]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites golden files; the review is the diff."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the files that tests compare with"
    )


@pytest.fixture(autouse=True, scope="session")
def _own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have monitors that tests start record themselves apart from those of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTAP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """Provide a silent namespace, named after the test."""
    with Namespace(request.node.name) as created:
        yield created


@pytest.fixture
def veth(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[Veth]:
    """Provide a pair that is up, right in `namespace`, left in another one; no addresses, no ARP,
    no IPv6: silent.
    """
    with (
        Namespace(request.node.name) as other,
        veth_pair(request.node.name, other, namespace) as pair,
    ):
        yield pair
